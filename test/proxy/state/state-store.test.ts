/** The last known state of a cluster on disk: what is written, what is read again, and what is not. */
import assert from 'node:assert/strict'
import { chmod, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MeshError } from '../../../proxy/model/error.ts'
import { type Log, type LogFields, silentLog } from '../../../proxy/model/log.ts'
import { type Snapshot, silentSink } from '../../../proxy/model/sink.ts'
import type { PolicyObject } from '../../../proxy/model/workloads/policy-object.ts'
import { StateStore } from '../../../proxy/state/state-store.ts'
import { FakeClock } from '../../support/clock.ts'
import { eventually } from '../../support/eventually.ts'
import { clusterService, endpoint } from '../../support/model.ts'

const source = 'etcd https://one:2379'
const service = (name: string) =>
  clusterService({ name, cluster: 'east', endpoints: [endpoint({ address: '10.2.0.1' })] })
const policy = (name: string): PolicyObject => ({
  cluster: 'east',
  kind: 'NetworkPolicy',
  apiVersion: 'networking.k8s.io/v1',
  namespace: 'default',
  name,
  annotations: {},
  spec: { podSelector: {} },
  specs: null,
  origin: 'a.yaml:1',
})
const snapshot: Snapshot = {
  services: [service('a'), service('b')],
  namespaces: [{ name: 'default', global: true }],
  pods: [{ namespace: 'default', name: 'p', addresses: ['10.2.0.1'] }],
  nodes: [{ name: 'n1', zone: 'z1' }],
  policies: [policy('a'), policy('b')],
  addresses: [{ address: '10.2.0.1', id: 7, ports: [] }],
  identities: [{ id: 7, namespace: 'default', labels: {}, namespaceLabels: {}, account: '' }],
  gateways: [{ host: 'gw.example', port: 15_008, text: 'gw.example:15008' }],
}

async function startStore(
  t: Test,
  folder = join(t.testdir({}), 'state'),
  clock = new FakeClock(),
  log: Log = silentLog,
) {
  const store = new StateStore({ folder, clock, log })
  await store.open()
  return { store, folder, clock, path: join(folder, 'east.state') }
}

const recall = async (folder: string, from = source) => (await startStore(t, folder)).store.recall('east', from)

t.test('what a source has said is there again after a restart, and only if it is the same source', async t => {
  const { store, folder, clock, path } = await startStore(t)
  t.equal(await store.recall('east', source), undefined)
  const sink = store.sink('east', source, silentSink)
  sink.put(service('early'))
  await clock.advance(10_000)
  await assert.rejects(stat(path), { code: 'ENOENT' }, 'nothing is written before the first list')
  sink.reset(snapshot)
  sink.put(service('c'))
  sink.drop('default', 'a')
  await clock.advance(1000)
  await eventually(() => stat(path))
  sink.putNode?.({ name: 'n2' })
  sink.dropPod('default', 'p')
  sink.dropPolicy?.(policy('a'))
  await store.close()
  t.equal((await stat(path)).mode & 0o777, 0o600)
  t.equal((await stat(folder)).mode & 0o777, 0o700)
  t.same(await recall(folder), {
    since: clock.wall(),
    snapshot: {
      ...snapshot,
      services: [service('b'), service('c')],
      pods: [],
      policies: [policy('b')],
      nodes: [...(snapshot.nodes ?? []), { name: 'n2' }],
    },
  })
  t.equal(await recall(folder, 'etcd https://two:2379'), undefined)
})

t.test('a file that is damaged in any place is not used', async t => {
  const { store, folder, path } = await startStore(t)
  store.sink('east', source, silentSink).reset(snapshot)
  await store.close()
  const good = await readFile(path, 'utf8')
  t.ok(await recall(folder))
  const broken = {
    'cut short': [good.slice(0, -20), /JSON/],
    'a line is missing': [good.split('\n').toSpliced(2, 1).join('\n'), /its checksum is wrong/],
    'a digit differs': [good.replace('10.2.0.1', '10.2.0.7'), /its checksum is wrong/],
    empty: ['', /its checksum is wrong/],
    'not JSON': ['hello\nworld\n', /JSON/],
    'of another program': ['{"format":1}\n{}\n', /it is not a file of Starlane/],
    'another format': [good.replace('"format":1', '"format":2'), /it has format 2, and this version reads 1/],
    'another source': [good.replace(source, 'etcd https://two:2379'), /it is of another source/],
  } as const
  for (const [what, [text, why]] of Object.entries(broken)) {
    await writeFile(path, text)
    const lines: [string, LogFields | undefined][] = []
    const log: Log = { ...silentLog, warn: (event, fields) => void lines.push([event, fields]) }
    const { store } = await startStore(t, folder, new FakeClock(), log)
    t.equal(await store.recall('east', source), undefined, what)
    t.match(lines, [['state.unreadable', { path, why }]], 'which the log says')
  }
  await rm(path)
  await mkdir(path)
  t.equal(await recall(folder), undefined, 'a folder')
})

t.test('the file says when it was last known to be true', async t => {
  const { store, clock, path, folder } = await startStore(t)
  const sink = store.sink('east', source, silentSink)
  sink.reset(snapshot)
  await clock.advance(1000)
  await eventually(() => stat(path))
  await clock.advance(3_600_000)
  // A file that was being written when it was due is touched the next time.
  await eventually(async () => {
    await clock.advance(30_000)
    assert.ok(clock.wall() - (await stat(path)).mtimeMs <= 60_000)
  })
  sink.lost(new MeshError('SOURCE_READ', 'nobody answers'))
  const lostAt = clock.wall()
  await clock.advance(3_600_000)
  await store.close()
  const since = (await recall(folder))?.since ?? 0
  t.ok(Math.abs(since - lostAt) < 120_000, `${since - lostAt}`)
})

t.test('a folder that is open to others is not used, and status says why', async t => {
  const folder = join(t.testdir({ state: {} }), 'state')
  await chmod(folder, 0o755)
  const { store } = await startStore(t, folder)
  t.match(store.problems(), [{ code: 'STATE', where: folder, message: /mode 755.*chmod 700/ }])
  store.sink('east', source, silentSink).reset(snapshot)
  await store.close()
  await assert.rejects(stat(join(folder, 'east.state')), { code: 'ENOENT' })
})

t.test('a write that fails leaves the earlier file, is a problem, and is tried again', async t => {
  const { store, clock, path, folder } = await startStore(t)
  const sink = store.sink('east', source, silentSink)
  sink.reset(snapshot)
  await clock.advance(1000)
  await eventually(() => stat(path))
  const before = await readFile(path, 'utf8')
  await mkdir(`${path}.new`) // opening it for writing fails
  await clock.advance(5000)
  sink.put(service('c'))
  await eventually(async () => {
    await clock.advance(1000)
    assert.match(store.problems()[0]?.message ?? '', /cannot be written.*EISDIR/)
  })
  t.equal(await readFile(path, 'utf8'), before)
  await rm(`${path}.new`, { recursive: true, force: true })
  let waited = 0
  await eventually(async () => {
    waited++
    await clock.advance(1000)
    assert.deepEqual(store.problems(), [])
  })
  t.ok(waited < 15, `as soon as there is room again: after ${waited} s`)
  await store.close()
  t.equal((await recall(folder))?.snapshot.services.length, 3)
})
