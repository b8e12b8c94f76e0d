/** An IAM user's long-lived credentials. */
export interface User {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** How many calls each of these makes; none is signed, so moto must take so many unchecked. */
export const CALLS = { makeUser: 3, makeRole: 2 } as const;

/** A user with one inline policy of one statement. */
export async function makeUser(endpoint: string, name: string, statement: object): Promise<User> {
  await call(endpoint, 'CreateUser', { UserName: name });
  const made = await call(endpoint, 'CreateAccessKey', { UserName: name });
  await call(endpoint, 'PutUserPolicy', { UserName: name, PolicyName: 'p', PolicyDocument: policy(statement) });
  return { accessKeyId: element(made, 'AccessKeyId'), secretAccessKey: element(made, 'SecretAccessKey') };
}

/** A role that anybody may assume who may call sts:AssumeRole, with one inline policy of one statement. Resolves to its ARN. */
export async function makeRole(endpoint: string, name: string, statement: object): Promise<string> {
  const trust = policy({ Effect: 'Allow', Principal: { AWS: '*' }, Action: 'sts:AssumeRole' });
  const made = await call(endpoint, 'CreateRole', { RoleName: name, AssumeRolePolicyDocument: trust });
  await call(endpoint, 'PutRolePolicy', { RoleName: name, PolicyName: 'p', PolicyDocument: policy(statement) });
  return element(made, 'Arn');
}

function policy(statement: object): string {
  return JSON.stringify({ Version: '2012-10-17', Statement: [statement] });
}

async function call(endpoint: string, action: string, fields: Record<string, string>): Promise<string> {
  const answer = await fetch(endpoint, {
    method: 'POST',
    // moto takes the service from the signature, which it does not check yet.
    headers: { authorization: 'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/iam/aws4_request' },
    body: new URLSearchParams({ Action: action, Version: '2010-05-08', ...fields }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${action}: HTTP ${answer.status} ${text}`);
  return text;
}

function element(xml: string, name: string): string {
  return new RegExp(`<${name}>([^<]+)</${name}>`).exec(xml)![1]!;
}
