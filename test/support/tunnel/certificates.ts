/** Folders of certificates for the ends of tunnels, made in memory. */
import 'reflect-metadata'
import { randomBytes, webcrypto } from 'node:crypto'
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as x509 from '@peculiar/x509'

type Keys = webcrypto.CryptoKeyPair

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const hourMs = 3_600_000

export interface Issued {
  /** PEM, with the intermediates. */
  readonly cert: string
  readonly key: string
}

export interface Terms {
  readonly from?: number
  readonly to?: number
  /** By default both. */
  readonly usages?: readonly ('client' | 'server')[]
  /** URIs and DNS names beside the id. */
  readonly uris?: readonly string[]
  readonly serial?: string
}

/** A root, or an intermediate of one. */
export class TunnelAuthority {
  readonly pem: string
  readonly #certificate: x509.X509Certificate
  readonly #keys: Keys
  readonly #chain: readonly string[]

  private constructor(certificate: x509.X509Certificate, keys: Keys, chain: readonly string[]) {
    this.#certificate = certificate
    this.#keys = keys
    this.#chain = chain
    this.pem = `${certificate.toString('pem')}\n`
  }

  static async create(name = 'test mesh'): Promise<TunnelAuthority> {
    const keys = await newKeys()
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      ...terms(name, {}),
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    })
    return new TunnelAuthority(certificate, keys, [])
  }

  async intermediate(name: string): Promise<TunnelAuthority> {
    const keys = await newKeys()
    const certificate = await this.#sign(name, keys.publicKey, {}, [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ])
    return new TunnelAuthority(certificate, keys, [`${certificate.toString('pem')}\n`, ...this.#chain])
  }

  async issue(id: string, given: Terms = {}): Promise<Issued> {
    const keys = await newKeys()
    const { usages = ['client', 'server'], uris = [id] } = given
    const { clientAuth, serverAuth } = x509.ExtendedKeyUsage
    const certificate = await this.#sign('starlane', keys.publicKey, given, [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usages.map(usage => (usage === 'client' ? clientAuth : serverAuth))),
      new x509.SubjectAlternativeNameExtension(uris.map(value => ({ type: 'url' as const, value }))),
    ])
    const exported = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64')
    const key = `-----BEGIN PRIVATE KEY-----\n${exported.replace(/.{64}(?=.)/g, '$&\n')}\n-----END PRIVATE KEY-----\n`
    return { cert: [`${certificate.toString('pem')}\n`, ...this.#chain].join(''), key }
  }

  /** A revocation list of these serial numbers, in PEM. */
  async revoke(serials: readonly string[], nextUpdate = Date.now() + hourMs): Promise<string> {
    const list = await x509.X509CrlGenerator.create({
      issuer: this.#certificate.subject,
      thisUpdate: new Date(Date.now() - hourMs),
      nextUpdate: new Date(nextUpdate),
      entries: serials.map(serialNumber => ({ serialNumber })),
      signingAlgorithm: algorithm,
      signingKey: this.#keys.privateKey,
    })
    // As OpenSSL writes it.
    return `-----BEGIN X509 CRL-----\n${list.toString('base64')}\n-----END X509 CRL-----\n`
  }

  async #sign(name: string, publicKey: Keys['publicKey'], given: Terms, extensions: x509.Extension[]) {
    return x509.X509CertificateGenerator.create({
      ...terms(name, given),
      subject: `CN=${name}`,
      issuer: this.#certificate.subject,
      publicKey,
      signingKey: this.#keys.privateKey,
      extensions: [
        ...extensions,
        await x509.SubjectKeyIdentifierExtension.create(publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(this.#certificate),
      ],
    })
  }
}

/** Writes the files of one end; a file that is there is replaced at once, as by a volume of Kubernetes. */
export function writeFolder(folder: string, files: Readonly<Record<string, string>>): string {
  for (const [name, text] of Object.entries(files)) {
    const file = join(folder, name)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }
  return folder
}

/** The files of an end with this id. */
export async function folderFor(
  folder: string,
  authority: TunnelAuthority,
  id: string,
  { roots = authority.pem, ...given }: Terms & { readonly roots?: string } = {},
): Promise<string> {
  const { cert, key } = await authority.issue(id, given)
  return writeFolder(folder, { 'tls.crt': cert, 'tls.key': key, 'ca.crt': roots })
}

export function idOf(cluster: string, role: 'gateway' | 'proxy' = 'proxy', domain = 'mesh.test'): string {
  return `spiffe://${domain}/ns/${cluster}/sa/${role}`
}

function terms(name: string, { from = Date.now() - hourMs, to = Date.now() + 24 * hourMs, serial }: Terms) {
  return {
    serialNumber: serial ?? `4${randomBytes(16).toString('hex').slice(1)}`,
    name: `CN=${name}`,
    notBefore: new Date(from),
    notAfter: new Date(to),
    signingAlgorithm: algorithm,
  }
}

function newKeys(): Promise<Keys> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']) as Promise<Keys>
}
