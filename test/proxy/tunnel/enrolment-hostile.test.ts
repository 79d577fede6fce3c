/** Enrolment, which strangers can reach: requests that are no requests, that ask for more than they may have, or that never end. */
import 'reflect-metadata'
import { webcrypto as crypto, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type ClientHttp2Session, connect } from 'node:http2'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import * as x509 from '@peculiar/x509'
import t, { type Test } from 'tap'
import { enrolPath } from '../../../proxy/tunnel/enrolment/wire.ts'
import { eventually } from '../../support/eventually.ts'
import { startGateway } from '../../support/tunnel/rig.ts'
import { runLine } from '../cli/stage.ts'

const domain = ['--trust-domain', 'mesh.test']
const mesh = (...argv: string[]) => runLine(['mesh', 'certificates', ...argv], { wall: Date.now })

/** A gateway with an authority, and ways to come to it without a certificate. */
async function world(t: Test) {
  const authority = join(t.testdir(), 'mesh-tls')
  await mesh('init', '--cluster', 'cluster-2', ...domain, '--dir', authority)
  const gateway = await startGateway(t, { folder: join(authority, 'gateway'), services: [], authority })
  const ca = await readFile(join(authority, 'ca.crt'))
  const invite = async () => {
    const to = ['--cluster', 'cluster-1', '--role', 'proxy', '--gateway', gateway.at.text]
    const { out } = await mesh('invite', ...to, ...domain, '--dir', authority)
    const { id, secret } = JSON.parse(Buffer.from(out.trim().split('.')[1] ?? '', 'base64url').toString())
    return { id, secret } as { id: string; secret: string }
  }
  const come = async (localAddress = '127.0.0.1'): Promise<ClientHttp2Session> => {
    const socket = connectTls({
      ...{ host: '127.0.0.1', port: gateway.port, ca, localAddress, ALPNProtocols: ['h2'] },
      checkServerIdentity: () => undefined,
    })
    const session = connect('https://x', { createConnection: () => socket })
    t.teardown(() => session.destroy())
    session.on('error', () => {})
    await Promise.race([once(session, 'remoteSettings'), once(session, 'close')])
    return session
  }
  const begin = (session: ClientHttp2Session) => {
    const stream = session.request({ ':method': 'POST', ':path': enrolPath }, { endStream: false })
    return stream.on('error', () => {})
  }
  /** The status, 0 without an answer, and the answer. */
  const post = async (body: string | Buffer, from?: string): Promise<{ status: number; text: string }> => {
    const stream = begin(await come(from))
    let status = 0
    let text = ''
    stream.on('response', headers => {
      status = Number(headers[':status'])
    })
    stream.on('data', chunk => {
      text += chunk
    })
    stream.end(body)
    if (!stream.destroyed) await once(stream, 'close').catch(() => {})
    return { status, text }
  }
  return { gateway, invite, come, begin, post }
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

async function requestFor(id: string): Promise<string> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const extensions = [
    new x509.SubjectAlternativeNameExtension([
      { type: 'url', value: id },
      { type: 'dns', value: 'api.example' },
    ]),
    new x509.BasicConstraintsExtension(true, undefined, true),
  ]
  const made = { name: 'CN=admin', keys, signingAlgorithm: algorithm, extensions }
  return (await x509.Pkcs10CertificateRequestGenerator.create(made)).toString('pem')
}

t.test(
  'a request that names another id, a host or an authority gets what the token is for, and nothing else',
  async t => {
    const { invite, post } = await world(t)
    const csr = await requestFor('spiffe://mesh.test/ns/cluster-2/sa/gateway')
    const { status, text } = await post(JSON.stringify({ ...(await invite()), csr }))
    t.equal(status, 200)
    const certificate = new X509Certificate(JSON.parse(text).certificate)
    t.equal(certificate.subjectAltName, 'URI:spiffe://mesh.test/ns/cluster-1/sa/proxy')
    t.equal(certificate.ca, false)
    t.notMatch(certificate.subject, /admin/)
  },
)

t.test('what is no request is refused, in words that are harmless, and uses no token up', async t => {
  const { gateway, invite, post } = await world(t)
  const { id, secret } = await invite()
  const good = await requestFor('spiffe://x/y')
  const der = (bytes: Buffer) =>
    `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`
  const nested = Buffer.concat([Buffer.from('3080'.repeat(20_000), 'hex')])
  const broken = Buffer.from(good.replace(/-.*-|\n/g, ''), 'base64')
  broken[broken.length - 5] = (broken[broken.length - 5] ?? 0) ^ 1
  const bodies: (readonly [status: number, body: string])[] = [
    [400, ''],
    [400, 'null'],
    [400, '\u202e\u009b[2J\u0007'],
    [400, JSON.stringify({ id, secret })],
    [400, JSON.stringify({ id: [id], secret, csr: good })],
    [400, '['.repeat(60_000)],
    [400, JSON.stringify({ id, secret, csr: '\u202e'.repeat(1000) })],
    [400, JSON.stringify({ id, secret, csr: der(nested) })],
    [400, JSON.stringify({ id, secret, csr: der(Buffer.alloc(40_000, 0xff)) })],
    [400, JSON.stringify({ id, secret, csr: der(broken) })],
    [400, JSON.stringify({ id, secret, csr: 'x'.repeat(70_000) })],
    [403, JSON.stringify({ id: '../../ca', secret, csr: good })],
    [403, JSON.stringify({ id, secret: '', csr: good })],
  ]
  for (const [expected, body] of bodies) {
    const before = process.cpuUsage()
    const { status, text } = await post(body)
    const { user } = process.cpuUsage(before)
    t.ok(
      status === expected || (body.length > 65_536 && status === 0),
      `${status} for ${JSON.stringify(body.slice(0, 60))}`,
    )
    t.notMatch(text, /[\p{Cc}\p{Cf}]/u)
    t.ok(user < 1_000_000, `${user} µs`)
  }
  const refusals = gateway.lines.filter(({ event }) => event === 'gateway.enrolment-refused')
  t.ok(refusals.length >= bodies.length - 1)
  for (const line of refusals) t.notMatch(JSON.stringify(line), /[\p{Cc}\p{Cf}]/u)
  t.equal((await post(JSON.stringify({ id, secret, csr: good }))).status, 200, 'the token works still')
})

t.test('strangers who come and say nothing do not keep out who comes from elsewhere', async t => {
  const { invite, come, begin, post } = await world(t)
  const slow = await Promise.all(Array.from({ length: 12 }, () => come('127.0.0.1')))
  await eventually(() => {
    const open = slow.filter(({ destroyed }) => !destroyed).length
    if (open > 8) throw new Error(`${open} are open`)
  })
  for (const session of slow) if (!session.destroyed && !session.closed) begin(session).write('{')
  const csr = await requestFor('spiffe://x/y')
  const { status } = await post(JSON.stringify({ ...(await invite()), csr }), '127.0.0.2')
  t.equal(status, 200)
})
