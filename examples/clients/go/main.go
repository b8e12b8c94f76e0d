// A first call from Go: encrypts a value, opens it again, and meets a refusal.
//
//	sh generate.sh && go run .
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"example.com/dekd-first-call/dekdv1"
)

func main() {
	socket := os.Getenv("DEKD_SOCKET")
	if socket == "" {
		socket = "../../../.dekd/agent.sock"
	}
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	if err := firstCall(dekdv1.NewKeyAgentClient(connection)); err != nil {
		log.Fatal(err)
	}
}

func firstCall(agent dekdv1.KeyAgentClient) error {
	// Without a deadline a call may wait 10 s for a KMS.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	encryptionContext := map[string]string{"tenant": "acme", "table": "orders"}
	encrypted, err := agent.Encrypt(ctx, &dekdv1.EncryptRequest{
		Key: "default", Plaintext: []byte("hello"), EncryptionContext: encryptionContext,
	})
	if err != nil {
		return err
	}
	fmt.Printf("ciphertext: %d bytes\n", len(encrypted.Ciphertext))

	decrypted, err := agent.Decrypt(ctx, &dekdv1.DecryptRequest{
		Ciphertext: encrypted.Ciphertext, EncryptionContext: encryptionContext,
	})
	if err != nil {
		return err
	}
	fmt.Printf("plaintext: %s\n", decrypted.Plaintext)

	_, err = agent.Decrypt(ctx, &dekdv1.DecryptRequest{
		Ciphertext: encrypted.Ciphertext, EncryptionContext: map[string]string{"tenant": "other"},
	})
	fmt.Printf("another context: %s %s: %s\n", status.Code(err), reason(err), status.Convert(err).Message())
	return nil
}

// reason is the stable name of what went wrong; docs/architecture.md lists them all.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return "?"
}
