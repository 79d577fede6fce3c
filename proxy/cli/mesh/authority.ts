/** A certificate authority of one's own and what it signs, by the program openssl (3.0 or newer). */
import { execFile } from 'node:child_process'
import { isIP } from 'node:net'
import { promisify } from 'node:util'
import { MeshError, messageOf } from '../../model/error.ts'

/** Files without their ending: `ca` stands for `ca.crt` and `ca.key`. */
export interface Authority {
  readonly file: string
}

export interface Wanted {
  /** Where `.crt` and `.key` are written; what is there is replaced. */
  readonly file: string
  /** The common name, which for etcd is the user. */
  readonly name: string
  readonly days: number
  /** DNS names and addresses of a server; a client has none. */
  readonly hosts?: readonly string[]
}

export async function createAuthority({ file, name, days }: Omit<Wanted, 'hosts'>): Promise<Authority> {
  await request(file, name, days, ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'])
  return { file }
}

/** A certificate for a server when it has hosts, which then also may be a client: members of etcd are both. */
export async function issue(authority: Authority, { file, name, days, hosts = [] }: Wanted): Promise<void> {
  const names = hosts.map(host => `${isIP(host) === 0 ? 'DNS' : 'IP'}:${host}`)
  await request(
    file,
    name,
    days,
    [
      'basicConstraints=critical,CA:FALSE',
      'keyUsage=critical,digitalSignature',
      `extendedKeyUsage=clientAuth${names.length > 0 ? ',serverAuth' : ''}`,
      ...(names.length > 0 ? [`subjectAltName=${names.join(',')}`] : []),
    ],
    ['-CA', `${authority.file}.crt`, '-CAkey', `${authority.file}.key`],
  )
}

const run = promisify(execFile)

/** openssl writes keys so that only their owner reads them. */
async function request(
  file: string,
  name: string,
  days: number,
  extensions: readonly string[],
  signer: readonly string[] = [],
): Promise<void> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${file}.key`]
  const subject = ['-subj', `/CN=${name}`, '-days', String(days), '-out', `${file}.crt`]
  const added = extensions.flatMap(extension => ['-addext', extension])
  try {
    await run('openssl', ['req', '-x509', ...key, ...subject, ...added, ...signer])
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    const why = missing ? 'the program openssl is not installed' : messageOf(error)
    throw new MeshError('USAGE', `cannot make the certificate ${file}.crt: ${why}`, { cause: error })
  }
}
