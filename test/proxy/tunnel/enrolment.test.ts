/** Enrolment at a gateway: a token that works once gives a certificate, whose key is made where it is used; and renewal. */
import { X509Certificate } from 'node:crypto'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:http2'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import t, { type Test } from 'tap'
import type { Backend } from '../../../proxy/model/backend.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { Issuer } from '../../../proxy/tunnel/enrolment/issuer.ts'
import { Renewal } from '../../../proxy/tunnel/enrolment/renewal.ts'
import { enrolPath } from '../../../proxy/tunnel/enrolment/wire.ts'
import { echo, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { folderFor, idOf, TunnelAuthority } from '../../support/tunnel/certificates.ts'
import { behindGateway, recordingLog, sharedService, startClient, startGateway } from '../../support/tunnel/rig.ts'
import { runLine } from '../cli/stage.ts'

const mesh = (...argv: string[]) => runLine(['mesh', ...argv], { wall: Date.now })

/** The authority and the gateway of cluster-2, and a way to invite. */
async function world(t: Test) {
  const folder = t.testdir()
  const authority = join(folder, 'mesh-tls')
  const domain = ['--trust-domain', 'mesh.test', '--dir', authority]
  await mesh('certificates', 'init', '--cluster', 'cluster-2', ...domain)
  const { backend } = await tcpBackend(t, echo)
  const served = { folder: join(authority, 'gateway'), services: [sharedService([backend])], authority }
  const gateway = await startGateway(t, served)
  const invite = async (...more: string[]) => {
    const to = ['--cluster', 'cluster-1', '--role', 'proxy', '--gateway', gateway.at.text]
    const said = await mesh('certificates', 'invite', ...to, ...domain, ...more)
    t.equal(said.code, 0, said.err)
    return said.out.trim()
  }
  const join_ = async (token: string, dir: string) => {
    const file = join(folder, 'token')
    await writeFile(file, token)
    return mesh('join', '--token-file', file, '--dir', dir)
  }
  return { folder, authority, gateway, backend, invite, join: join_ }
}

t.test('a token gives a certificate once; the key never leaves its machine', async t => {
  const { folder, authority, gateway, backend, invite, join: enrol } = await world(t)
  const token = await invite()
  const content = Buffer.from(token.slice(token.indexOf('.') + 1), 'base64url').toString('utf8')
  t.notMatch(content, /PRIVATE/, 'a token holds no key')
  const { secret } = JSON.parse(content)
  for (const name of await readdir(join(authority, 'invitations')))
    t.notMatch(
      await readFile(join(authority, 'invitations', name), 'utf8'),
      secret,
      'nor does the gateway keep its secret',
    )

  const own = join(folder, 'tls')
  const another = `${secret.startsWith('A') ? 'B' : 'A'}${secret.slice(1)}`
  const forged = `starlane-join.${Buffer.from(content.replace(secret, another)).toString('base64url')}`
  t.match(await enrol(forged, own), { code: 1, err: /unknown, was used, or has expired/ })
  const joined = await enrol(token, own)
  t.match(joined, { code: 0, out: /Enrolled as spiffe:\/\/mesh\.test\/ns\/cluster-1\/sa\/proxy, valid until/ })
  t.equal((await stat(join(own, 'tls.key'))).mode & 0o077, 0)

  const proxy = await startClient(t, { folder: own, gateways: [gateway.at] })
  await proxy.open()
  const stream = await proxy.dial(behindGateway([backend])[0] as Backend)
  stream.reset()

  const before = await readFile(join(own, 'tls.crt'), 'utf8')
  t.match(await enrol(token, own), { code: 1, err: /unknown, was used, or has expired/ }, 'once')
  t.equal(await readFile(join(own, 'tls.crt'), 'utf8'), before, 'what is in use stays')
  const late = await invite('--expires', '1ms')
  await new Promise(resolve => setTimeout(resolve, 10))
  t.match(await enrol(late, own), { code: 1, err: /unknown, was used, or has expired/ })
  t.ok(gateway.lines.some(({ event }) => event === 'gateway.enrolled'))
  t.ok(gateway.lines.some(({ event }) => event === 'gateway.enrolment-refused'))
})

t.test('two who come with one token: one gets a certificate', async t => {
  const { folder, invite, authority } = await world(t)
  const token = await invite()
  const files = ['a', 'b', 'c'].map(name => join(folder, name))
  await writeFile(join(folder, 'token'), token)
  const said = await Promise.all(files.map(dir => mesh('join', '--token-file', join(folder, 'token'), '--dir', dir)))
  t.same(said.map(({ code }) => code).sort(), [0, 1, 1])
  t.equal((await readdir(join(authority, 'invitations'))).length, 1)
})

t.test('who shows no certificate gets nothing but an answer to a token', async t => {
  const { gateway, authority } = await world(t)
  const root = await readFile(join(authority, 'ca.crt'))
  const ask = (headers: Record<string, string>) =>
    new Promise<number>(resolve => {
      const socket = connectTls({
        host: '127.0.0.1',
        port: gateway.port,
        ca: root,
        ALPNProtocols: ['h2'],
        checkServerIdentity: () => undefined,
      })
      const session = connect('https://x', { createConnection: () => socket })
      t.teardown(() => session.destroy())
      session.on('error', () => resolve(0))
      const stream = session.request(headers, { endStream: false })
      stream.on('response', headers => resolve(Number(headers[':status'])))
      stream.on('error', () => {})
      stream.on('close', () => resolve(0))
      stream.end('{"id":"../../ca","secret":"x","csr":"y"}')
    })
  t.equal(await ask({ ':method': 'CONNECT', ':authority': '127.0.0.1:80' }), 0)
  t.equal(await ask({ ':path': '/.well-known/starlane/health' }), 0)
  t.equal(await ask({ ':method': 'POST', ':path': '/.well-known/starlane/renew' }), 0)
  t.equal(await ask({ ':method': 'POST', ':path': enrolPath }), 400, 'what is no request')
  t.equal(gateway.gateway.view().sessions, 0)
})

t.test('a token of another gateway, and one who answers in its place', async t => {
  const { folder, invite, join: enrol } = await world(t)
  const token = await invite()
  const content = JSON.parse(Buffer.from(token.slice(token.indexOf('.') + 1), 'base64url').toString('utf8'))
  const other = await TunnelAuthority.create()
  const pretender = await startGateway(t, {
    folder: await folderFor(join(folder, 'pretender'), other, idOf('cluster-2', 'gateway')),
    services: [],
    authority: folder,
  })
  const to = (changes: object) =>
    `starlane-join.${Buffer.from(JSON.stringify({ ...content, ...changes })).toString('base64url')}`
  const own = join(folder, 'own')
  t.match(await enrol(to({ gateways: [pretender.at.text] }), own), {
    code: 1,
    err: /no certificate from cluster-2: .*(self-signed|issuer|verify)/,
  })
  t.match(await enrol(to({ cluster: 'cluster-9' }), own), { code: 1, err: /a gateway of cluster-9 has/ })
  t.match(await enrol('starlane-join.abc', own), { code: 2, err: /not a token, or only a part/ })
  t.match(await enrol(to({ gateways: ['127.0.0.1:1'] }), own), { code: 1, err: /127\.0\.0\.1:1: .*ECONNREFUSED/ })
})

t.test('a certificate that ends soon is renewed while it is in use', async t => {
  const { folder, gateway, backend, invite, join: enrol } = await world(t)
  const own = join(folder, 'tls')
  t.equal((await enrol(await invite(), own)).code, 0)
  const proxy = await startClient(t, { folder: own, gateways: [gateway.at] })
  await proxy.open()
  const stream = await proxy.dial(behindGateway([backend])[0] as Backend)
  t.teardown(() => stream.reset())
  const serial = async () => new X509Certificate(await readFile(join(own, 'tls.crt'))).serialNumber
  const first = await serial()
  const lines: Parameters<typeof recordingLog>[0] = []
  const renewalAt = (days: number) => {
    const clock = { ...systemClock, wall: () => Date.now() + days * 24 * 3_600_000 }
    const parts = { folder: own, credentials: proxy.credentials, issuer: undefined, clock, random: () => 0 }
    const renewal = new Renewal({ ...parts, log: recordingLog(lines) })
    t.teardown(() => renewal.close())
    return renewal
  }
  await renewalAt(10).look()
  t.equal(await serial(), first, 'two thirds of its life are left')
  const renewal = renewalAt(25)
  await eventually(async () => {
    if ((await serial()) === first) throw new Error(JSON.stringify(lines))
  })
  t.equal(proxy.credentials.material?.id.id, idOf('cluster-1'))
  await eventually(() => {
    if (proxy.credentials.material?.leaf.serialNumber === first) throw new Error('not read yet')
  })
  const [view] = proxy.client.views('cluster-2') ?? []
  t.equal(view?.streams, 1, 'what is open goes on')
  t.same(renewal.problems(), [])

  gateway.stop()
  await renewal.look()
  await eventually(() => {
    if (renewal.problems().length === 0) throw new Error('no problem')
  })
  t.match(renewal.problems(), [
    { code: 'CERTIFICATE', message: /is not renewed: no certificate from cluster-2: .*ECONNREFUSED/ },
  ])
})

t.test('a gateway that has the authority renews its own certificate', async t => {
  const { authority, gateway } = await world(t)
  const first = gateway.credentials.material?.leaf.serialNumber
  const clock = { ...systemClock, wall: () => Date.now() + 25 * 24 * 3_600_000 }
  const issuer = new Issuer(authority, systemClock)
  const parts = { folder: join(authority, 'gateway'), credentials: gateway.credentials, issuer, clock, random: () => 0 }
  const renewal = new Renewal({ ...parts, log: recordingLog([]) })
  t.teardown(() => renewal.close())
  await eventually(() => {
    if (gateway.credentials.material?.leaf.serialNumber === first) throw new Error('not yet')
  })
  t.equal(gateway.credentials.material?.id.id, idOf('cluster-2', 'gateway'))
})

t.test('only certificates of the authority are renewed, and only for their own id', async t => {
  const { authority } = await world(t)
  const issuer = new Issuer(authority, systemClock)
  const other = await TunnelAuthority.create('starlane mesh.test')
  const { cert } = await other.issue(idOf('cluster-1'))
  t.match(await issuer.renew(new X509Certificate(cert), idOf('cluster-1'), ''), { why: /not of this authority/ })
  const own = new X509Certificate(await readFile(join(authority, 'proxy', 'tls.crt')))
  t.match(await issuer.renew(own, 'spiffe://mesh.test/ns/a/sa/admin', ''), { why: /is not an id that is issued here/ })
})
