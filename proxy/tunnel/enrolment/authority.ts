/** A certificate authority and the certificates it issues. The X.509 library is optional and loaded when it is needed. */
import { webcrypto as crypto, randomBytes, X509Certificate } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { MeshError, messageOf } from '../../model/error.ts'

/** A path without extension: `ca` stands for `ca.crt` and `ca.key`. */
export interface Authority {
  readonly file: string
}

export interface Wanted {
  /** Path without extension; existing `.crt` and `.key` files are replaced. */
  readonly file: string
  /** The common name; etcd takes it as the user name. */
  readonly name: string
  readonly days: number
  /** DNS names and addresses of a server; none for a client. */
  readonly hosts?: readonly string[]
  /** A SPIFFE id: the certificate is for an end of tunnels, as a client and as a server. */
  readonly id?: string | undefined
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const dayMs = 24 * 3_600_000
/** Certificates are valid from this long ago, to allow for clock skew. */
const clockSkewMs = 5 * 60_000

export async function createAuthority({ file, name, days }: Omit<Wanted, 'hosts'>): Promise<Authority> {
  await making(file, async x509 => {
    const keys = await newKeys()
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      ...terms(name, days),
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    })
    await write(file, certificate.toString('pem'), keys.privateKey)
  })
  return { file }
}

/** Issues a client certificate, or with `hosts` one for a server. That also allows client use, since etcd members are both. */
export async function issue(authority: Authority, { file, name, days, hosts = [], id }: Wanted): Promise<void> {
  await making(file, async x509 => {
    const keys = await newKeys()
    const certificate = await certify(x509, authority, keys.publicKey, { name, days, hosts, id })
    await write(file, certificate, keys.privateKey)
  })
}

/** A key, and a request for a certificate of it (PKCS #10), which names nobody: who signs it says whose it is. */
export async function request(file: string): Promise<void> {
  await making(file, async x509 => {
    const keys = await newKeys()
    const made = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: algorithm })
    await writeKey(file, keys.privateKey)
    await replace(`${file}.csr`, `${made.toString('pem')}\n`, 0o644)
  })
}

/** Rejects if a request is not signed with its own key. */
export async function verifyRequest(csr: string): Promise<void> {
  await making('of a request', async x509 => {
    if (!(await new x509.Pkcs10CertificateRequest(csr).verify())) throw new Error(notOwnKey)
  })
}

const notOwnKey = 'the request is not signed with its own key; make a new one'

/** The certificate for a request, in PEM. The names in the request count for nothing; its signature proves that it has the key. */
export async function sign(authority: Authority, csr: string, wanted: Omit<Wanted, 'file'>): Promise<string> {
  let certificate = ''
  await making(authority.file, async x509 => {
    const asked = new x509.Pkcs10CertificateRequest(csr)
    if (!(await asked.verify())) throw new Error(notOwnKey)
    certificate = await certify(x509, authority, await asked.publicKey.export(), wanted)
  })
  return certificate
}

async function certify(
  x509: X509,
  authority: Authority,
  publicKey: Keys['publicKey'],
  { name, days, hosts = [], id }: Omit<Wanted, 'file'>,
): Promise<string> {
  const issuer = new x509.X509Certificate(await readFile(`${authority.file}.crt`, 'utf8'))
  const signer = x509.PemConverter.decodeFirst(await readFile(`${authority.file}.key`, 'utf8'))
  const signingKey = await crypto.subtle.importKey('pkcs8', signer, algorithm, false, ['sign'])
  const { clientAuth, serverAuth } = x509.ExtendedKeyUsage
  const names = [
    ...hosts.map(host => ({ type: isIP(host) === 0 ? ('dns' as const) : ('ip' as const), value: host })),
    ...(id === undefined ? [] : [{ type: 'url' as const, value: id }]),
  ]
  const certificate = await x509.X509CertificateGenerator.create({
    ...terms(name, days),
    subject: [{ CN: [name] }],
    issuer: issuer.subject,
    publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(names.length > 0 ? [clientAuth, serverAuth] : [clientAuth]),
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  })
  return `${certificate.toString('pem')}\n`
}

/** Whether a certificate must be issued: missing, for other hosts, or with less than a third of its lifetime left. */
export async function isDue(file: string, hosts: readonly string[], now: number): Promise<boolean> {
  const text = await readFile(`${file}.crt`).catch(() => undefined)
  if (!text) return true
  const certificate = new X509Certificate(text)
  const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()]
  const covers = (host: string) => (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host))
  return to - now < (to - from) / 3 || !hosts.every(covers)
}

type X509 = typeof import('@peculiar/x509')
type Keys = Awaited<ReturnType<typeof newKeys>>

function terms(name: string, days: number) {
  const now = Date.now()
  return {
    // Positive: RFC 5280 4.1.2.2.
    serialNumber: `4${randomBytes(16).toString('hex').slice(1)}`,
    name: [{ CN: [name] }],
    notBefore: new Date(now - clockSkewMs),
    notAfter: new Date(now + days * dayMs),
    signingAlgorithm: algorithm,
  }
}

function newKeys() {
  return crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
}

/** Writes the key, then the certificate, each atomically. A reader in between may see an old certificate with the new key. */
async function write(file: string, certificate: string, key: Keys['privateKey']) {
  await writeKey(file, key)
  await replace(`${file}.crt`, certificate.endsWith('\n') ? certificate : `${certificate}\n`, 0o644)
}

async function writeKey(file: string, key: Keys['privateKey']) {
  const exported = Buffer.from(await crypto.subtle.exportKey('pkcs8', key)).toString('base64')
  const pem = `-----BEGIN PRIVATE KEY-----\n${exported.replace(/.{64}(?=.)/g, '$&\n')}\n-----END PRIVATE KEY-----\n`
  await replace(`${file}.key`, pem, 0o600)
}

async function replace(file: string, text: string, mode: number): Promise<void> {
  await writeFile(`${file}.new`, text, { mode })
  await rename(`${file}.new`, file)
}

async function making(file: string, make: (x509: X509) => Promise<void>): Promise<void> {
  try {
    // A dependency of the library needs it to be loaded first.
    await import('reflect-metadata')
    await make(await import('@peculiar/x509'))
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND'
    const why = missing ? 'run npm install @peculiar/x509 reflect-metadata' : messageOf(error)
    throw new MeshError('USAGE', `cannot create the certificate ${file}.crt: ${why}`, { cause: error })
  }
}
