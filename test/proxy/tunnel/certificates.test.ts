/** Which certificates each end accepts, and what it says of those that it does not. */
import { createHash, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { clusterOf, gatewayOf, parseSpiffeId, type SpiffeId, starlaneId } from '../../../proxy/model/tunnel/identity.ts'
import { Credentials } from '../../../proxy/tunnel/certificates/credentials.ts'
import { readRevocations } from '../../../proxy/tunnel/certificates/revocations.ts'
import { echo, tcpBackend } from '../../support/backend.ts'
import { eventually } from '../../support/eventually.ts'
import { folderFor, idOf, type Terms, TunnelAuthority, writeFolder } from '../../support/tunnel/certificates.ts'
import {
  behindGateway,
  type Line,
  recordingLog,
  sharedService,
  startClient,
  startGateway,
  tunnelRig,
} from '../../support/tunnel/rig.ts'

const hourMs = 3_600_000

/** Waits for a line with this event, and returns why. */
async function why(lines: readonly Line[], event: string): Promise<string> {
  return eventually(() => {
    const line = lines.find(line => line.event === event)
    if (!line) throw new Error(`no ${event} in ${lines.map(({ event }) => event).join()}`)
    return String(line.fields?.why)
  })
}

/** A gateway and a client with these certificates; resolves with what each of them says. */
async function meet(
  t: Test,
  given: {
    server?: {
      authority?: TunnelAuthority
      id?: string
      terms?: Terms & { roots?: string }
      files?: Record<string, string>
    }
    client?: {
      authority?: TunnelAuthority
      id?: string
      terms?: Terms & { roots?: string }
      files?: Record<string, string>
    }
  },
) {
  const authority = given.client?.authority ?? given.server?.authority ?? (await TunnelAuthority.create())
  const { server = {}, client = {} } = given
  const folder = t.testdir()
  const serverFolder = await folderFor(
    join(folder, 'gateway'),
    server.authority ?? authority,
    server.id ?? idOf('cluster-2', 'gateway'),
    server.terms,
  )
  const clientFolder = await folderFor(
    join(folder, 'proxy'),
    client.authority ?? authority,
    client.id ?? idOf('cluster-1'),
    client.terms,
  )
  writeFolder(serverFolder, server.files ?? {})
  writeFolder(clientFolder, client.files ?? {})
  const { backend } = await tcpBackend(t, echo)
  const gateway = await startGateway(t, { folder: serverFolder, services: [sharedService([backend])] })
  const proxy = await startClient(t, { folder: clientFolder, gateways: [gateway.at] })
  return { authority, gateway, proxy, backends: behindGateway([backend]), serverFolder, clientFolder }
}

t.test('a client that the gateway refuses, and both say why', async t => {
  const authority = await TunnelAuthority.create()
  const stranger = await TunnelAuthority.create('test mesh')
  const now = Date.now()
  const cases: [string, Parameters<typeof meet>[1], RegExp][] = [
    [
      'expired',
      { client: { terms: { from: now - 2 * hourMs, to: now - hourMs } } },
      /serial .*it expired on .*the clock here says 20/,
    ],
    ['not yet valid', { client: { terms: { from: now + hourMs, to: now + 2 * hourMs } } }, /it is not valid before/],
    [
      'wrong trust domain',
      { client: { id: idOf('cluster-1', 'proxy', 'evil.test') } },
      /wrong trust domain: evil\.test, and not mesh\.test/,
    ],
    [
      'wrong cluster',
      { client: { id: idOf('cluster-9') } },
      /wrong cluster: spiffe:\/\/mesh\.test\/ns\/cluster-9\/sa\/proxy/,
    ],
    ['another role', { client: { id: 'spiffe://mesh.test/ns/cluster-1/sa/admin' } }, /wrong cluster/],
    [
      'no root',
      { client: { authority: stranger, terms: { roots: authority.pem } }, server: { authority } },
      /no root that is trusted here has signed it/,
    ],
    ['a server only', { client: { terms: { usages: ['server'] } } }, /may not be used for this side of TLS/],
    ['two URIs', { client: { terms: { uris: [idOf('cluster-1'), idOf('cluster-2')] } }, server: {} }, /.*/],
  ]
  for (const [name, given, expected] of cases) {
    await t.test(name, async t => {
      if (name === 'two URIs') return twoUris(t)
      const { gateway, proxy } = await meet(t, given)
      t.match(await why(gateway.lines, 'gateway.refused'), expected)
      t.match(await why(proxy.lines, 'tunnel.refused'), expected, 'the client is told')
      t.match(proxy.client.views('cluster-2'), [{ state: 'lost', error: expected }])
      t.equal(gateway.gateway.view().sessions, 0)
    })
  }
})

/** Such a certificate is not even read as one's own: its folder is refused at start. */
async function twoUris(t: Test) {
  const authority = await TunnelAuthority.create()
  const folder = await folderFor(join(t.testdir(), 'a'), authority, idOf('cluster-1'), {
    uris: [idOf('cluster-1'), idOf('cluster-2')],
  })
  const credentials = new Credentials({
    from: { folder },
    clusters: () => [],
    clock: systemClock,
    log: recordingLog([]),
  })
  await credentials.start()
  t.teardown(() => credentials.close())
  t.match(credentials.problems(), [{ code: 'CERTIFICATE', message: /tls\.crt has 2 URIs, and not one/ }])
}

t.test('a gateway that the client refuses', async t => {
  const now = Date.now()
  const cases: [string, Parameters<typeof meet>[1], RegExp][] = [
    ['expired', { server: { terms: { from: now - 2 * hourMs, to: now - hourMs } } }, /it expired on/],
    [
      'a proxy’s certificate',
      { server: { id: idOf('cluster-2', 'proxy') } },
      /wrong cluster: a gateway of cluster-2 has .*\/ns\/cluster-2\/sa\/gateway/,
    ],
    ['another cluster’s gateway', { server: { id: idOf('cluster-3', 'gateway') } }, /wrong cluster/],
    [
      'wrong trust domain',
      { server: { id: idOf('cluster-2', 'gateway', 'evil.test') } },
      /wrong trust domain: evil\.test/,
    ],
  ]
  for (const [name, given, expected] of cases) {
    await t.test(name, async t => {
      const { proxy, backends } = await meet(t, given)
      t.match(await why(proxy.lines, 'tunnel.refused'), expected)
      await t.rejects(proxy.dial(backends[0] as never), { code: 'ENETUNREACH', message: expected })
    })
  }
})

t.test(
  'a cluster with a root of its own is not believed under another cluster’s, whatever that calls itself',
  async t => {
    const [one, two] = [await TunnelAuthority.create('same name'), await TunnelAuthority.create('same name')]
    const roots = { 'roots/cluster-1.crt': one.pem, 'roots/cluster-2.crt': two.pem }
    const both = { terms: { roots: one.pem + two.pem } }
    await t.test('its own', async t => {
      const { proxy } = await meet(t, {
        server: { authority: two, ...both, files: roots },
        client: { authority: one, ...both, files: roots },
      })
      await proxy.open()
    })
    await t.test('another’s', async t => {
      // The authority of cluster-2 issues an id of cluster-1.
      const { gateway } = await meet(t, {
        server: { authority: two, ...both, files: roots },
        client: { authority: two, ...both, files: roots },
      })
      t.match(await why(gateway.lines, 'gateway.refused'), /it is not signed by a root of cluster cluster-1/)
    })
  },
)

t.test('intermediates', async t => {
  const root = await TunnelAuthority.create()
  const intermediate = await root.intermediate('intermediate')
  const { proxy } = await meet(t, {
    server: { authority: intermediate, terms: { roots: root.pem } },
    client: { authority: intermediate, terms: { roots: root.pem } },
  })
  await proxy.open()
})

t.test('a revocation list of the authority cuts at once, and counts for its own certificates only', async t => {
  const rig = await tunnelRig(t, [(await tcpBackend(t, echo)).backend])
  const { server, client, serverFolder, authority } = rig
  const serial = client.credentials.material?.leaf.serialNumber ?? ''
  const stranger = await TunnelAuthority.create()
  writeFolder(serverFolder, { 'crl.pem': await stranger.revoke([serial]) })
  const refused = /crl\.pem, list 1, is not signed by a root or intermediate that is trusted here/
  t.match(await why(server.lines, 'certificate.unusable'), refused)
  t.equal(server.gateway.view().sessions, 1, 'the last good files stay in use')

  const other = await TunnelAuthority.create('another root')
  const both = { 'ca.crt': `${authority.pem}${other.pem}` }
  writeFolder(serverFolder, { ...both, 'crl.pem': await other.revoke([serial]) })
  await eventually(() => {
    if (server.credentials.problems().length > 0) throw new Error('not read yet')
  })
  t.equal(server.gateway.view().sessions, 1, 'the same serial number of another issuer')

  writeFolder(serverFolder, {
    'crl.pem': (await other.revoke([])) + (await authority.revoke([serial], Date.now() - 1000)),
  })
  t.match(
    await why(server.lines, 'gateway.refused'),
    /is revoked: it is in a revocation list of its issuer in .*crl\.pem/,
  )
  await eventually(() => {
    if (server.gateway.view().sessions > 0) throw new Error('it is still connected')
  })
  t.match(server.credentials.problems(), [{ message: /a revocation list should have been replaced on/ }], 'and is old')
  writeFolder(serverFolder, { 'crl.pem': await authority.revoke(['1234']) })
  await eventually(() => {
    const [problem] = server.credentials.problems()
    if (problem) throw new Error(problem.message)
    // A view of the client may still show the tunnel that was cut.
    if (server.gateway.view().sessions === 0) throw new Error('it has not come again')
  })
  await client.open()
})

t.test('revoked: by fingerprint, serial number or id, on both sides, and at once', async t => {
  const rig = await tunnelRig(t, [(await tcpBackend(t, echo)).backend])
  const { server, client, serverFolder, clientFolder } = rig
  await client.dial(rig.backends[0] as never)
  writeFolder(serverFolder, { revoked: `# stolen\n${idOf('cluster-1')}  # all of them\n` })
  t.match(await why(server.lines, 'gateway.refused'), /is revoked: its id is in .*revoked/)
  await eventually(() => {
    if (server.gateway.view().sessions > 0) throw new Error('it is still connected')
  })
  t.match(await why(client.lines, 'tunnel.lost'), /.+/)
  writeFolder(serverFolder, { revoked: '# nobody\n' })
  await client.open()
  const { material } = server.credentials
  writeFolder(clientFolder, { revoked: `serial: ${material?.leaf.serialNumber}\n` })
  await eventually(() => {
    const [view] = client.client.views('cluster-2') ?? []
    if (!/is revoked: its serial number/.test(view?.error ?? '')) throw new Error(`${view?.error}`)
  })
})

t.test('a list of revocations that is not understood is not used', async t => {
  const certificate = new X509Certificate((await (await TunnelAuthority.create()).issue(idOf('a'))).cert)
  const digest = createHash('sha256').update(certificate.raw).digest('hex')
  t.match(readRevocations(digest, 'f').why(certificate, ''), /fingerprint/)
  t.match(readRevocations(certificate.fingerprint256, 'f').why(certificate, ''), /fingerprint/)
  t.equal(readRevocations('serial:01', 'f').why(certificate, 'x'), undefined)
  t.throws(() => readRevocations('\nfoo', 'f'), { code: 'CERTIFICATE', message: /^f:2 is neither/ })
})

t.test('rotation: new certificates and a new root, while connections go on', async t => {
  const { backend } = await tcpBackend(t, echo)
  const rig = await tunnelRig(t, [backend])
  const next = await TunnelAuthority.create('next')
  const stream = await rig.client.dial(rig.backends[0] as never)
  const before = rig.client.client.views('cluster-2')?.[0]?.certificate
  // Both roots, then new certificates, then the new root alone.
  for (const folder of [rig.serverFolder, rig.clientFolder])
    writeFolder(folder, { 'ca.crt': rig.authority.pem + next.pem })
  await eventually(() => {
    const sizes = [rig.server, rig.client].map(({ credentials }) => credentials.material?.sharedRoots.length)
    if (sizes.some(size => size !== 2)) throw new Error(sizes.join())
  })
  await folderFor(rig.serverFolder, next, idOf('cluster-2', 'gateway'), {
    roots: rig.authority.pem + next.pem,
    to: Date.now() + 48 * hourMs,
  })
  await folderFor(rig.clientFolder, next, idOf('cluster-1'), { roots: rig.authority.pem + next.pem })
  await eventually(() => {
    const [view] = rig.client.client.views('cluster-2') ?? []
    if (view?.state !== 'open' || view.certificate?.validTo === before?.validTo) throw new Error(JSON.stringify(view))
  }, 10_000)
  t.equal(rig.server.gateway.view().streams, 1, 'the connection that was open goes on')
  stream.reset()
  t.notMatch(rig.client.lines, [{ event: 'tunnel.lost' }])
  await rig.client.dial(rig.backends[0] as never)
})

t.test('a key that is not of the certificate leaves the last good one in use', async t => {
  const authority = await TunnelAuthority.create()
  const folder = await folderFor(join(t.testdir(), 'a'), authority, idOf('cluster-1'))
  const lines: Line[] = []
  const credentials = new Credentials({
    from: { folder },
    clusters: () => [],
    clock: systemClock,
    log: recordingLog(lines),
  })
  await credentials.start()
  t.teardown(() => credentials.close())
  const good = credentials.material
  writeFolder(folder, { 'tls.key': (await authority.issue(idOf('x'))).key })
  await eventually(() => {
    if (credentials.problems().length === 0) throw new Error('not noticed')
  })
  t.match(credentials.problems(), [
    { code: 'CERTIFICATE', message: /tls\.key is not the key of tls\.crt; replace both/ },
  ])
  t.equal(credentials.material, good)
})

t.test('a certificate that ends soon, or has ended, is a problem in status', async t => {
  const authority = await TunnelAuthority.create()
  const now = Date.now()
  for (const [to, expected] of [
    [now + 60_000, /expires on .*; replace it/],
    [now - 1000, /expired on .*; other clusters refuse it/],
  ] as const) {
    const folder = await folderFor(join(t.testdir(), 'a'), authority, idOf('cluster-1'), { from: now - hourMs, to })
    const credentials = new Credentials({
      from: { folder },
      clusters: () => [],
      clock: systemClock,
      log: recordingLog([]),
    })
    await credentials.start()
    t.match(credentials.problems(), [{ code: 'CERTIFICATE', message: expected }])
    credentials.close()
  }
})

t.test('ids', async t => {
  const id = (text: string) => parseSpiffeId(text) as SpiffeId
  t.match(parseSpiffeId(starlaneId('mesh.test', 'east', 'gateway')), {
    trustDomain: 'mesh.test',
    path: '/ns/east/sa/gateway',
  })
  for (const bad of [
    'spiffe://Mesh/a',
    'spiffe://mesh',
    'spiffe://mesh/',
    'spiffe://mesh//a',
    'spiffe://mesh/../a',
    'spiffe://mesh:1/a',
    'spiffe://mesh/a?b',
    'https://mesh/a',
    `spiffe://m/${'a'.repeat(2050)}`,
  ])
    t.equal(parseSpiffeId(bad), undefined, bad.slice(0, 40))
  const east = { cluster: 'east', trustDomain: 'mesh.test', ids: [] }
  const west = { cluster: 'west', trustDomain: 'west.test', ids: ['spiffe://west.test/ns/istio/sa/ztunnel'] }
  t.match(clusterOf(id('spiffe://mesh.test/ns/east/sa/proxy'), [east, west]), { cluster: 'east' })
  t.match(clusterOf(id('spiffe://west.test/ns/istio/sa/ztunnel'), [east, west]), { cluster: 'west' })
  t.match(
    clusterOf(id('spiffe://west.test/ns/west/sa/proxy'), [east, west]),
    { why: /wrong cluster/ },
    'named ids stand in the place of the others',
  )
  t.match(clusterOf(id('spiffe://west.test/ns/east/sa/proxy'), [east, west]), { why: /wrong cluster/ })
  t.match(gatewayOf(id('spiffe://mesh.test/ns/east/sa/proxy'), east), { why: /a gateway of east has/ })
  t.match(gatewayOf(id('spiffe://west.test/ns/istio/sa/ztunnel'), west), { cluster: 'west' })
})
