/** SPIFFE's own client takes what the Workload API of the tests gives, and Starlane takes the same. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { silentLog } from '../../proxy/model/log.ts'
import { systemClock } from '../../proxy/model/time/clock.ts'
import { Credentials } from '../../proxy/tunnel/certificates/credentials.ts'
import { idOf, TunnelAuthority } from '../support/tunnel/certificates.ts'
import { FakeWorkloadApi } from '../support/tunnel/workload-api.ts'
import { goProgram } from './go-program.ts'

const program = goProgram('spiffe')

t.test('identities with intermediates, and federated bundles', { skip: program.missing }, async t => {
  const folder = await mkdtemp(join(tmpdir(), 'starlane-spiffe-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const api = await FakeWorkloadApi.start(t, join(folder, 'agent'))
  const [own, other] = [await TunnelAuthority.create('own'), await TunnelAuthority.create('other')]
  const intermediate = await own.intermediate('intermediate')
  const ids = [idOf('cluster-1'), idOf('cluster-1', 'gateway')] as const
  const svids = [
    { id: ids[0], issued: await intermediate.issue(ids[0]), roots: own.pem },
    { id: ids[1], issued: await own.issue(ids[1]), roots: own.pem },
  ]
  api.give(svids, { 'spiffe://other.test': other.pem + own.pem })
  const { stdout } = await promisify(execFile)(program.path, ['fetch', api.endpoint])
  const said = JSON.parse(stdout)
  t.match(said, {
    identities: [
      { id: ids[0], certificates: 2 },
      { id: ids[1], certificates: 1 },
    ],
    bundles: { 'mesh.test': 1, 'other.test': 2 },
    verified: true,
  })

  const credentials = new Credentials({
    from: { workloadApi: api.endpoint },
    clusters: () => [],
    clock: systemClock,
    log: silentLog,
  })
  t.teardown(() => credentials.close())
  await credentials.start()
  const { material } = credentials
  t.equal(material?.id.id, ids[0])
  t.equal(material?.leaf.serialNumber.replace(/^0+/, ''), said.identities[0].serial)
  t.equal(material?.cert.match(/BEGIN CERTIFICATE/g)?.length, 2)
  t.same(
    [...(material?.domains ?? [])].map(([domain, roots]) => [domain, roots.length]).sort(),
    Object.entries(said.bundles).sort(),
  )
})
