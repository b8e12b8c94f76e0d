#!/bin/sh
# Makes the stubs in ./dekdv1 from the project's proto files. Needs protoc (Debian, Ubuntu: apt-get install protobuf-compiler).
set -eu
cd "$(dirname "$0")"
module=example.com/dekd-first-call
packages=Mdekd/v1/agent.proto=$module/dekdv1,Mgoogle/rpc/status.proto=google.golang.org/genproto/googleapis/rpc/status
protoc -I ../../../proto dekd/v1/agent.proto \
  --plugin="$(go tool -n protoc-gen-go)" --go_out=. --go_opt="module=$module,$packages" \
  --plugin="$(go tool -n protoc-gen-go-grpc)" --go-grpc_out=. --go-grpc_opt="module=$module,$packages"
