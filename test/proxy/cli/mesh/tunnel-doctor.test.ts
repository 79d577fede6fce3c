/** `starlane mesh doctor -c FILE`: which certificate, port or clock keeps a cluster's gateways from being used. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { freePort } from '../../../support/backend.ts'
import { folderFor, idOf, type Terms, TunnelAuthority, writeFolder } from '../../../support/tunnel/certificates.ts'
import { startGateway } from '../../../support/tunnel/rig.ts'
import { runLine } from '../stage.ts'

const authority = await TunnelAuthority.create()
const hourMs = 3_600_000

/** Runs it against a gateway with these certificates. */
async function doctor(
  t: Test,
  { server = {}, client = {}, port }: { server?: Terms & { id?: string }; client?: Terms; port?: number },
) {
  const folder = t.testdir()
  const serverFolder = await folderFor(
    join(folder, 'gateway'),
    authority,
    server.id ?? idOf('cluster-2', 'gateway'),
    server,
  )
  await folderFor(join(folder, 'tls'), authority, idOf('cluster-1'), client)
  const { at } = await startGateway(t, { folder: serverFolder, services: [] })
  writeFolder(folder, {
    'starlane.yaml': `
cluster: cluster-1
tunnel: { certificates: ./tls }
clusters:
  - { name: cluster-1, id: 1, source: { manifests: . } }
  - { name: cluster-2, id: 2, source: { manifests: . }, route: tunnel, gateways: ["127.0.0.1:${port ?? at.port}"] }
`,
  })
  return runLine(['mesh', 'doctor', '-c', join(folder, 'starlane.yaml')])
}

t.test('all is well', async t => {
  const { code, out } = await doctor(t, {})
  t.equal(code, 0, out)
  t.match(out, /cluster-2\n.*own certificate: spiffe:\/\/mesh\.test\/ns\/cluster-1\/sa\/proxy, .*valid until/)
  t.match(
    out,
    /port: 127\.0\.0\.1:\d+ answers\n.*certificate: .*\/ns\/cluster-2\/sa\/gateway.*and accepts ours\n.*clock: the clocks agree/,
  )
})

t.test('what is wrong is named', async t => {
  const now = Date.now()
  const cases: [string, Parameters<typeof doctor>[1], RegExp][] = [
    [
      'the port',
      { port: await freePort('127.0.0.1') },
      /✗ port: 127\.0\.0\.1:\d+: connect ECONNREFUSED.*is the gateway running/,
    ],
    ['our certificate', { client: { from: now - 2 * hourMs, to: now - hourMs } }, /✗ own certificate: .*expired on/],
    [
      'its certificate',
      { server: { from: now - 2 * hourMs, to: now - hourMs } },
      /✗ certificate: .*cluster-2\/sa\/gateway.*it expired on/,
    ],
    ['its identity', { server: { id: idOf('cluster-3', 'gateway') } }, /✗ certificate: .*wrong cluster/],
  ]
  for (const [name, given, expected] of cases) {
    await t.test(name, async t => {
      const { code, out } = await doctor(t, given)
      t.equal(code, 1)
      t.match(out, expected)
    })
  }
})

t.test('a configuration without tunnels', async t => {
  const folder = t.testdir({ 'x.yaml': 'cluster: a\nclusters:\n  - { name: a, id: 1, source: { manifests: . } }\n' })
  t.match(await runLine(['mesh', 'doctor', '-c', join(folder, 'x.yaml')]), {
    code: 2,
    err: /no cluster with route: tunnel/,
  })
})
