/** A certificate authority, and certificates of a server and of a client, made with openssl. */
import { run } from './processes.ts'

export async function makeCertificates(folder: string, names: readonly string[]): Promise<void> {
  const script = `cd "$1"
    key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
    key ca; openssl req -x509 -key ca.key -subj /CN=test-authority -days 2 -out ca.crt
    for name in server client; do
      key $name
      openssl req -new -key $name.key -subj "/CN=$name" -addext "subjectAltName=$2" |
        openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out $name.crt
    done
    chmod a+r *`
  await run(['sh', '-ec', script, 'sh', folder, names.map(name => `DNS:${name}`).join(',')])
}
