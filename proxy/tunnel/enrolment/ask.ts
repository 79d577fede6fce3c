/** Asks a gateway for a certificate. The private key is made here and stays here. */
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:http2'
import { join } from 'node:path'
import { connect as connectTls, createSecureContext } from 'node:tls'
import * as v from 'valibot'
import { MeshError, messageOf } from '../../model/error.ts'
import { gatewayOf } from '../../model/tunnel/identity.ts'
import { spiffeIdOf } from '../certificates/material.ts'
import { request } from './authority.ts'
import { decodeInvitation } from './invitation.ts'
import { bodyOf, enrolPath, refusedAnswer, renewPath, signedAnswer } from './wire.ts'

/** Kept beside a certificate: where it is renewed. */
const home = v.object({ cluster: v.string(), trustDomain: v.string(), gateways: v.array(v.string()) })
export type Home = v.InferOutput<typeof home>
type Signed = v.InferOutput<typeof signedAnswer>

export const homeFile = 'renewal.json'
const connectMs = 10_000

/** Enrols with a token, and writes key, certificate and root into the folder. Rejects with `MeshError`. */
export async function enrol(folder: string, token: string): Promise<Signed> {
  const { cluster, trustDomain, gateways, ca, id, secret } = decodeInvitation(token)
  const at = { cluster, trustDomain, gateways }
  const csr = await newRequest(folder)
  const signed = await ask(at, { ca }, enrolPath, { id, secret, csr })
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await replace(join(folder, homeFile), `${JSON.stringify(at)}\n`, 0o644)
  await install(folder, signed)
  return signed
}

/** Renews the certificate of a folder at the gateway that it came from. Rejects with `MeshError`. */
export async function renew(folder: string, at: Home): Promise<Signed> {
  const text = (name: string) => readFile(join(folder, name), 'utf8')
  const [cert, key, ca] = await Promise.all([text('tls.crt'), text('tls.key'), text('ca.crt')])
  const signed = await ask(at, { ca, cert, key }, renewPath, { csr: await newRequest(folder) })
  await install(folder, signed)
  return signed
}

/** Where the certificate of a folder is renewed; undefined if it did not come from a gateway. */
export async function homeOf(folder: string): Promise<Home | undefined> {
  try {
    return v.parse(home, JSON.parse(await readFile(join(folder, homeFile), 'utf8')))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new MeshError('CERTIFICATE', `${join(folder, homeFile)} cannot be used: ${messageOf(error)}; enrol again`)
  }
}

/** A new key in `pending`, which nobody uses yet, and the request for it. */
export async function newRequest(folder: string): Promise<string> {
  const pending = join(folder, 'pending')
  await mkdir(pending, { recursive: true, mode: 0o700 })
  await request(join(pending, 'tls'))
  const csr = await readFile(join(pending, 'tls.csr'), 'utf8')
  await rm(join(pending, 'tls.csr'))
  return csr
}

/** Puts the pending key and its certificate in the place of those in use; whoever watches the folder takes them. */
export async function install(folder: string, { certificate, root }: Signed): Promise<void> {
  await addRoots(folder, root)
  await replace(join(folder, 'tls.crt.pending'), certificate, 0o644)
  await rename(join(folder, 'pending', 'tls.key'), join(folder, 'tls.key'))
  await rename(join(folder, 'tls.crt.pending'), join(folder, 'tls.crt'))
}

/** Adds roots to `ca.crt`; those that are there stay. */
export async function addRoots(folder: string, pem: string): Promise<void> {
  const file = join(folder, 'ca.crt')
  const before = await readFile(file, 'utf8').catch(() => '')
  const missing = (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).filter(
    one => !before.includes(one),
  )
  if (missing.length > 0) await replace(file, `${before}${missing.join('\n')}\n`, 0o644)
}

type Identity = { readonly ca: string; readonly cert?: string; readonly key?: string }

/** The first gateway that can be reached decides. */
async function ask(at: Home, identity: Identity, path: string, body: object): Promise<Signed> {
  let why = 'no gateway is named'
  for (const gateway of at.gateways) {
    const outcome = await askOne(gateway, at, identity, path, body).catch(error => ({ unreachable: messageOf(error) }))
    if (!('unreachable' in outcome)) return outcome
    why = `${gateway}: ${outcome.unreachable}`
  }
  throw new MeshError('CERTIFICATE', `no certificate from ${at.cluster}: ${why}`)
}

async function askOne(gateway: string, at: Home, identity: Identity, path: string, body: object): Promise<Signed> {
  const { hostname, port } = new URL(`https://${gateway}`)
  const socket = connectTls({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || 15_008),
    secureContext: createSecureContext({ minVersion: 'TLSv1.3', ...identity }),
    ALPNProtocols: ['h2'],
    // No SNI, and no host name in its certificate: it is known by its SPIFFE id, which is examined below.
    servername: '',
    checkServerIdentity: () => undefined,
  })
  const deadline = setTimeout(() => socket.destroy(new Error(`no answer within ${connectMs} ms`)), connectMs)
  try {
    await once(socket, 'secureConnect')
    const id = spiffeIdOf(socket.getPeerX509Certificate() as X509Certificate)
    const expected = 'why' in id ? id : gatewayOf(id, { ...at, ids: [] })
    if ('why' in expected) throw new Error(`its certificate is refused: ${expected.why}`)
    return await post(gateway, socket, path, body)
  } finally {
    clearTimeout(deadline)
    socket.destroy()
  }
}

async function post(
  gateway: string,
  socket: ReturnType<typeof connectTls>,
  path: string,
  body: object,
): Promise<Signed> {
  const session = connect(`https://${gateway}`, { createConnection: () => socket })
  // The gateway says why in the GOAWAY that ends a session.
  let refusal: string | undefined
  const failed = new Promise<never>((_resolve, reject) => {
    session.on('goaway', (_code, _last, data) => {
      if (data && data.length > 0)
        refusal = Buffer.from(data)
          .toString('utf8')
          .replace(/[^\x20-\x7e]/g, '?')
    })
    session.on('error', error => reject(new Error(refusal ?? messageOf(error))))
    session.once('close', () => reject(new Error(refusal ?? 'it closed the connection')))
  })
  failed.catch(() => {})
  try {
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/json' })
    stream.on('error', () => {})
    stream.end(JSON.stringify(body))
    const [headers] = await Promise.race([once(stream, 'response'), failed])
    const text = await Promise.race([bodyOf(stream), failed])
    if (headers[':status'] === 200) return checkedAnswer(v.parse(signedAnswer, JSON.parse(text)))
    const told = v.safeParse(refusedAnswer, jsonOf(text))
    const why = told.success ? told.output.why : `it answers ${headers[':status']}: does it have gateway.authority?`
    throw new MeshError('CERTIFICATE', why)
  } finally {
    session.destroy()
  }
}

function checkedAnswer(signed: Signed): Signed {
  new X509Certificate(signed.certificate)
  new X509Certificate(signed.root)
  return signed
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

async function replace(file: string, text: string, mode: number): Promise<void> {
  await writeFile(`${file}.new`, text, { mode })
  await rename(`${file}.new`, file)
}
