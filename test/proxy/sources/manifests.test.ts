/** The manifests source: the source contract, half-written files, links and large folders. */
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, sep } from 'node:path'
import t, { type Test } from 'tap'
import { type LogFields, silentLog } from '../../../proxy/model/log.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import { DebouncedJob } from '../../../proxy/sources/manifests/debounced-job.ts'
import { ManifestFile } from '../../../proxy/sources/manifests/manifest-file.ts'
import { ManifestReader } from '../../../proxy/sources/manifests/manifest-reader.ts'
import { createManifestsSource, type ManifestsOptions } from '../../../proxy/sources/manifests/manifests-source.ts'
import { type Declared, examineSource, RecordingSink, type SourceDriver, until } from '../../conformance/source.ts'
import { FakeClock } from '../../support/clock.ts'

const fixtures = new URL('../../fixtures/manifests/', import.meta.url).pathname

t.test('satisfies the source contract', async t => {
  examineSource(t, async (t): Promise<SourceDriver> => {
    const home = await folder(t)
    const here = join(home, 'cluster-1')
    const away = join(home, 'away')
    await mkdir(here)
    let at = here
    const fileOf = ({ namespace, name }: Declared) => join(at, `${namespace}-${name}.yaml`)
    return {
      source: createManifestsSource(here, { ...options, debounceMs: 20 }),
      apply: async (...services) => {
        for (const service of services) await writeFile(fileOf(service), manifest(service))
      },
      remove: service => rm(fileOf(service)),
      spoil: service => writeFile(fileOf(service), manifest(service).replaceAll('port: 80', 'port: 0')),
      break: async () => {
        await rename(here, away)
        at = away
      },
      heal: async () => {
        await rename(away, here)
        at = here
      },
    }
  })
})

t.test('reads what people and kubectl write', async t => {
  const one = await begin(t, join(fixtures, 'x-wing/cluster-1'))
  const http = [{ name: 'http', protocol: 'TCP', port: 80 }]
  t.same(
    [...one.sink.services.values()],
    [
      {
        cluster: 'cluster-1',
        namespace: 'default',
        name: 'rebel-base',
        type: 'ClusterIP',
        headless: false,
        clusterIPs: ['10.96.0.10'],
        ports: http,
        annotations: { 'service.cilium.io/global': 'true', 'service.cilium.io/affinity': 'local' },
        labels: {},
        publishNotReadyAddresses: false,
        internalTrafficPolicy: 'Cluster',
        endpoints: [
          {
            address: '10.1.0.11',
            ports: http,
            ready: true,
            serving: true,
            terminating: false,
            pod: 'rebel-base-7d9c-a',
            node: 'yavin-1',
            zone: 'outer-rim-a',
          },
          {
            address: '10.1.0.12',
            ports: http,
            ready: false,
            serving: true,
            terminating: true,
            pod: 'rebel-base-7d9c-b',
            node: 'yavin-2',
          },
        ],
        origin: `${join(fixtures, 'x-wing/cluster-1/rebel-base.yaml')}:35`,
      },
    ],
  )
  t.same(one.sink.problemList, [])

  const two = await begin(t, join(fixtures, 'x-wing/cluster-2/rebel-base.yaml'))
  t.match(two.sink.services.get('default/rebel-base'), {
    clusterIPs: [],
    endpoints: [
      { address: '10.2.0.11', ready: true, node: 'hoth-1' },
      { address: '10.2.0.12', ready: false, serving: false },
    ],
  })

  const exported = await begin(t, join(fixtures, 'kubectl'))
  t.same([...exported.sink.services.keys()].sort(), ['default/holonet', 'default/kubernetes', 'empire/death-star'])
  t.same([...exported.sink.namespaces.values()], [{ name: 'empire', global: false }])
  t.match(exported.sink.services.get('empire/death-star'), {
    clusterIPs: ['10.96.41.7', 'fd00:10:96::29a7'],
    sessionAffinity: { timeoutMs: 10_800_000 },
    annotations: { 'service.cilium.io/global': 'true', 'kubectl.kubernetes.io/last-applied-configuration': undefined },
    endpoints: [
      { address: '10.244.1.17', zone: 'core-a', forZones: ['core-a'], hostname: undefined, pod: 'death-star-0' },
      {
        address: 'fd00:10:244:1::11',
        ports: [
          { name: 'exhaust', port: 8443 },
          { name: 'tractor-beam', protocol: 'UDP', port: 5300 },
        ],
      },
    ],
    origin: /list\.yaml:19$/,
  })
  t.equal(
    exported.sink.services.get('empire/death-star')?.endpoints.length,
    2,
    'neither the mirror of Cilium nor Endpoints count',
  )
  t.match(exported.sink.services.get('default/holonet'), {
    headless: true,
    clusterIPs: [],
    ports: [],
    origin: /services\.json:37$/,
  })
  t.same(exported.sink.problemList, [])
})

t.test('only manifests are read, in the folder and below it', async t => {
  const { path, sink } = await begin(t, undefined, {
    'a.yaml': service('a'),
    'b.yml': service('b'),
    'C.JSON': JSON.stringify({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'c' },
      spec: { ports: [{ port: 1 }] },
    }),
    'deep/er/d.yaml': service('d'),
    'values.txt': 'not: [yaml',
    '.hidden.yaml': 'not: [yaml',
    '.git/config.yaml': 'not: [yaml',
    '#a.yaml#': 'not: [yaml',
    'a.yaml~': 'not: [yaml',
    'a.yaml.swp': 'not: [yaml',
  })
  t.same([...sink.services.keys()].sort(), ['default/a', 'default/b', 'default/c', 'default/d'])
  t.same(sink.problemList, [])
  t.equal(sink.services.get('default/d')?.origin, `${join(path, 'deep/er/d.yaml')}:1`)
})

t.test('what is ignored on purpose is said once', async t => {
  const of = (apiVersion: string, kind: string, name: string) =>
    `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: ${name}}\n`
  const lines: string[] = []
  const log = {
    ...silentLog,
    info: (event: string, fields: LogFields = {}) => void lines.push(`${event} ${fields.what}`),
  }
  const deployments = `${of('apps/v1', 'Deployment', 'a')}---\n${of('apps/v1', 'Deployment', 'b')}`
  const files = { 'a.yaml': service('a'), 'b.yaml': deployments, 'c.yaml': of('v1', 'Secret', 'c') }
  const { path, sink } = await begin(t, undefined, files, { log })
  t.same(lines, ['source.ignored Deployment (apps/v1), Secret (v1)'])
  await writeFile(join(path, 'b.yaml'), of('apps/v1', 'Deployment', 'd'))
  await writeFile(join(path, 'e.yaml'), of('apps/v1', 'StatefulSet', 'e'))
  await until(() => lines.length === 2, 'another line')
  t.same(lines[1], 'source.ignored StatefulSet (apps/v1)')
  t.same(sink.problemList, [])
})

t.test('follows files that are created, replaced, moved and removed', async t => {
  const { path, sink } = await begin(t, undefined, { 'a.yaml': service('a'), 'b.yaml': service('b') })
  const steps: [what: string, act: () => Promise<unknown>, expected: string[]][] = [
    ['written in place', () => writeFile(join(path, 'a.yaml'), service('a', 81)), ['put default/a']],
    ['replaced by a rename', () => replace(join(path, 'a.yaml'), service('a', 82)), ['put default/a']],
    ['written in place after that', () => writeFile(join(path, 'a.yaml'), service('a', 83)), ['put default/a']],
    ['a new file', () => writeFile(join(path, 'c.yaml'), service('c')), ['put default/c']],
    ['removed', () => rm(join(path, 'b.yaml')), ['drop default/b']],
    [
      'one object out of a file',
      () => writeFile(join(path, 'c.yaml'), `${service('c')}---\n${service('d')}`),
      ['put default/d'],
    ],
    ['into a file', () => writeFile(join(path, 'c.yaml'), service('d')), ['drop default/c']],
    ['a folder that is filled later', () => mkdir(join(path, 'sub/sub'), { recursive: true }), []],
    ['a file in it', () => writeFile(join(path, 'sub/sub/e.yaml'), service('e')), ['put default/e']],
    ['a change in it', () => writeFile(join(path, 'sub/sub/e.yaml'), service('e', 81)), ['put default/e']],
    ['the folder moved', () => rename(join(path, 'sub'), join(path, 'other')), []],
    ['a change in the moved one', () => writeFile(join(path, 'other/sub/e.yaml'), service('e', 82)), ['put default/e']],
    ['the folder removed', () => rm(join(path, 'other'), { recursive: true }), ['drop default/e']],
    ['made again', () => write(path, { 'other/sub/e.yaml': service('e') }), ['put default/e']],
    ['and changed again', () => writeFile(join(path, 'other/sub/e.yaml'), service('e', 81)), ['put default/e']],
  ]
  for (const [i, [what, act, expected]] of steps.entries()) {
    await act()
    // Where nothing is to come, a mark tells that the look is over.
    if (expected.length === 0) {
      await settle(path, sink, i)
      t.same(sink.news(), [`put namespace mark-${i}`], what)
    } else {
      await until(() => sink.calls.length >= expected.length, what)
      t.same(sink.news(), expected, what)
    }
  }
  t.same(sink.violations, [])
})

t.test('a half-written file keeps its last valid state, and the problem is reported', async t => {
  const { path, sink } = await begin(t, undefined, {
    'a.yaml': `${service('a')}---\n${service('b')}`,
    'c.yaml': service('c'),
  })
  const a = join(path, 'a.yaml')
  const whole = `${service('a', 81)}---\n${service('b', 81)}`
  await writeFile(a, whole.slice(0, whole.lastIndexOf('}') - 1))
  await until(() => sink.problemList.length > 0, 'the problem')
  t.match(sink.problemList, [
    { code: 'SOURCE_READ', where: `${a}:11`, message: /cannot be read: .*; its last valid state stays in use/ },
  ])
  await writeFile(join(path, 'c.yaml'), service('c', 81))
  await until(() => sink.services.get('default/c')?.ports[0]?.port === 81, 'other files go on')
  t.same(sink.news(), ['problems', 'put default/c'])
  await writeFile(a, whole)
  await until(() => sink.calls.length >= 3, 'the rest')
  t.same(sink.news(), ['problems', 'put default/a', 'put default/b'])
  t.same(sink.problemList, [])

  await truncate(a)
  await until(() => sink.problemList.length > 0, 'an empty file is one that is about to be written')
  t.match(sink.problemList, [{ where: `${a}:1`, message: /empty; delete it/ }])
  await writeFile(a, whole)
  await until(() => sink.problemList.length === 0, 'as it was')
  t.same(sink.news(), ['problems', 'problems'], 'back to the same is no change')
  await writeFile(a, '# nothing here\n')
  await until(() => sink.services.size === 1, 'a comment is meant')
  t.same(sink.news(), ['drop default/a', 'drop default/b'])
})

t.test('an invalid object is reported with its line, and keeps its last valid state', async t => {
  const bad = service('b').replace('port: 80', 'port: 80000')
  const { path, sink } = await begin(t, undefined, { 'a.yaml': `${service('a')}---\n${bad}---\n${service('c')}` })
  const file = join(path, 'a.yaml')
  t.same([...sink.services.keys()], ['default/a', 'default/c'])
  t.same(sink.problemList, [
    {
      code: 'SOURCE_OBJECT',
      where: `${file}:11`,
      message: 'Service default/b: spec.ports[0].port: 80000 is not a whole number from 1 to 65535',
    },
  ])
  await writeFile(file, `${service('a')}---\n${service('b')}---\n${service('c')}`)
  await until(() => sink.services.size === 3, 'mended')
  t.same(sink.problemList, [])
  await writeFile(file, `${service('a', 81)}---\n${bad}---\n${service('c', 81)}`)
  await until(() => sink.services.get('default/c')?.ports[0]?.port === 81, 'the rest of the file goes on')
  t.match(sink.problemList, [{ where: `${file}:11`, message: /; its last valid state stays in use$/ }])
  t.equal(sink.services.get('default/b')?.ports[0]?.port, 80)
  t.same(sink.violations, [])
})

t.test('a problem is logged when it appears, not while it lasts', async t => {
  const logged: unknown[] = []
  const log = { ...silentLog, warn: (event: string, fields?: LogFields) => void logged.push([event, fields]) }
  const bad = service('b').replace('port: 80', 'port: 0')
  const { path, sink } = await begin(t, undefined, { 'b.yaml': bad }, { log })
  await writeFile(join(path, 'c.yaml'), service('c').replace('port: 80', 'port: 0'))
  await until(() => sink.problemList.length === 2, 'the second problem')
  t.match(logged, [
    ['source.problem', { cluster: 'cluster-1', code: 'SOURCE_OBJECT', where: `${join(path, 'b.yaml')}:5` }],
    ['source.problem', { cluster: 'cluster-1', code: 'SOURCE_OBJECT', where: `${join(path, 'c.yaml')}:5` }],
  ])
  t.equal(logged.length, 2)
})

t.test('the same object twice: the first place is used, and the other when the first is gone', async t => {
  const { path, sink } = await begin(t, undefined, {
    'a.yaml': `${service('a', 1)}---\n${service('a', 2)}`,
    'b.yaml': service('a', 3),
    'c.yaml': service('a', 4),
  })
  const port = () => sink.services.get('default/a')?.ports[0]?.port
  const at = (name: string, line: number) => `${join(path, name)}:${line}`
  const told = (first: string, ...others: string[]) =>
    others.map(where => ({
      code: 'SOURCE_OBJECT',
      where,
      message: `Service default/a: is also at ${first}, and only that one is used; remove one of them`,
    }))
  t.equal(port(), 1)
  t.same(sink.problemList, told(at('a.yaml', 1), at('a.yaml', 7), at('b.yaml', 1), at('c.yaml', 1)))
  await rm(join(path, 'a.yaml'))
  await until(() => port() === 3, 'the second by path')
  t.same(sink.problemList, told(at('b.yaml', 1), at('c.yaml', 1)))
  await writeFile(join(path, 'aa.yaml'), service('a', 5))
  await until(() => port() === 5, 'an earlier path')
  await rm(join(path, 'aa.yaml'))
  await rm(join(path, 'b.yaml'))
  await until(() => port() === 4 && sink.problemList.length === 0, 'the last that is left')
  await rm(join(path, 'c.yaml'))
  await until(() => sink.services.size === 0, 'none')
  t.same(sink.violations, [])
})

t.test('a mounted ConfigMap changes by its ..data link', async t => {
  for (const root of ['', 'a.yaml']) {
    const home = await folder(t)
    await write(home, { '..2026_01/a.yaml': service('a', 1), '..2026_02/a.yaml': service('a', 2) })
    await symlink('..2026_01', join(home, '..data'))
    await symlink('..data/a.yaml', join(home, 'a.yaml'))
    const { sink } = await begin(t, join(home, root))
    t.equal(sink.services.size, 1, 'the folders behind it are not read a second time')
    await symlink('..2026_02', join(home, '..data_tmp'))
    await rename(join(home, '..data_tmp'), join(home, '..data'))
    await until(() => sink.services.get('default/a')?.ports[0]?.port === 2, root === '' ? 'the folder' : 'the file')
    t.same(sink.problemList, [])
  }
})

t.test('links: to folders, to each other, to nothing', async t => {
  const home = await folder(t)
  await write(home, { 'v1/a.yaml': service('a', 1), 'v2/a.yaml': service('a', 2) })
  await symlink('v1', join(home, 'current'))
  const { sink } = await begin(t, join(home, 'current'))
  await symlink('v2', join(home, 'next'))
  await rename(join(home, 'next'), join(home, 'current'))
  await until(() => sink.services.get('default/a')?.ports[0]?.port === 2, 'the other folder')
  await writeFile(join(home, 'v2/a.yaml'), service('a', 3))
  await until(() => sink.services.get('default/a')?.ports[0]?.port === 3, 'it is watched')

  await symlink('.', join(home, 'v2/circle'))
  await symlink('nowhere.yaml', join(home, 'v2/dangling.yaml'))
  await settle(join(home, 'v2'), sink, 0)
  t.same(sink.problemList, [])
  t.equal(sink.services.size, 1)

  await rm(join(home, 'v2/a.yaml'))
  await symlink('a.yaml', join(home, 'v2/a.yaml'))
  await until(() => sink.problemList.length > 0, 'a link to itself')
  t.match(sink.problemList, [{ code: 'SOURCE_READ', where: join(home, 'current/a.yaml'), message: /ELOOP/ }])
  t.equal(sink.services.size, 1, 'what was read from it before stays')
  await rm(join(home, 'v2/a.yaml'))
  await until(() => sink.services.size === 0, 'removed')
  t.same(sink.problemList, [])
})

t.test('a link above the folder that is swapped, and a link to a file that is edited in place', async t => {
  const home = await folder(t)
  await write(home, {
    'rev1/m/a.yaml': service('a', 1),
    'rev2/m/a.yaml': service('a', 2),
    'else/b.yaml': service('b', 1),
  })
  await symlink('rev1', join(home, 'current'))
  for (const rev of ['rev1', 'rev2']) await symlink('../../else/b.yaml', join(home, rev, 'm/b.yaml'))
  await symlink(join(home, 'current'), join(home, 'entry'))
  const { sink } = await begin(t, join(home, 'entry/m'))
  const port = (name: string) => sink.services.get(`default/${name}`)?.ports[0]?.port
  await writeFile(join(home, 'else/b.yaml'), service('b', 2))
  await until(() => port('b') === 2, 'edited behind its link')
  for (const [i, rev] of ['rev2', 'rev1', 'rev2'].entries()) {
    await symlink(rev, join(home, 'next'))
    await rename(join(home, 'next'), join(home, 'current'))
    await until(() => port('a') === (rev === 'rev1' ? 1 : 2), `swap ${i}`)
  }
  await writeFile(join(home, 'rev2/m/a.yaml'), service('a', 3))
  await until(() => port('a') === 3, 'and what it leads to is watched')
  t.same(sink.violations, [])
})

t.test('files that are not text', async t => {
  const { path, sink } = await begin(t, undefined, {
    'a.yaml': `\ufeff${service('a')}`,
    'huge.yaml': '',
    'latin.yaml': Buffer.from(`# caf\xe9\n${service('l')}`, 'latin1'),
    'wide.yaml': Buffer.from(`\ufeff${service('w')}`, 'utf16le'),
  })
  t.same([...sink.services.keys()], ['default/a'])
  t.match(sink.problemList, [
    {
      code: 'SOURCE_READ',
      where: join(path, 'latin.yaml'),
      message: 'cannot be read: it is not UTF-8 text; save it as UTF-8',
    },
    {
      code: 'SOURCE_READ',
      where: join(path, 'wide.yaml'),
      message: 'cannot be read: it is not UTF-8 text but UTF-16; save it as UTF-8',
    },
  ])
  await truncate(join(path, 'huge.yaml'), 32 * 1024 * 1024 + 1)
  await until(() => sink.problemList.length === 3, 'too large')
  t.match(sink.problemList[0], {
    where: join(path, 'huge.yaml'),
    message: /33554433 bytes, more than 33554432 \(32 MiB\); split it/,
  })
})

t.test('many problems are counted, not kept', async t => {
  const bad = service('a').replace('port: 80', 'port: 0').replace('name: a', 'name: A')
  const { path, sink } = await begin(t, undefined, { 'a.yaml': Array(150).fill(bad).join('---\n') })
  t.equal(sink.problemList.length, 101)
  t.match(sink.problemList[100], { where: join(path, 'a.yaml'), message: /^50 more/ })
})

t.test('a path whose folders do not exist yet is waited for', async t => {
  const home = await folder(t)
  const path = join(home, 'etc/starlane/a.yaml')
  const source = createManifestsSource(path, { ...options, debounceMs: 20 })
  const sink = new RecordingSink()
  t.teardown(() => source.close())
  source.start(sink)
  await until(() => sink.link === 'lost', 'lost')
  t.match(sink.error, {
    code: 'SOURCE_READ',
    message: /a\.yaml: no manifests can be read: ENOENT.*; create it, or correct the path/,
  })
  await mkdir(join(home, 'etc'))
  await mkdir(join(home, 'etc/starlane'))
  await writeFile(path, service('a'))
  await until(() => sink.services.size === 1, 'there it is')
  await rm(join(home, 'etc'), { recursive: true })
  await until(() => sink.link === 'lost', 'lost again')
  t.equal(sink.services.size, 1, 'and keeps what it said')
  await write(home, { 'etc/starlane/a.yaml': service('b') })
  await until(() => sink.services.has('default/b'), 'back')
  t.same(sink.news(), ['lost', 'reset', 'lost', 'reset'])
  await rm(path)
  await until(() => sink.link === 'lost', 'the file alone')
  await write(path, { 'c.yaml': service('c') })
  await until(() => sink.services.has('default/c'), 'a folder in place of the file')
  await writeFile(join(path, 'c.yaml'), service('d'))
  await until(() => sink.services.has('default/d'), 'and it is watched')
  t.same(sink.violations, [])
})

t.test('a folder above that is replaced between two scans is watched again', async t => {
  const home = await folder(t)
  await write(home, { 'mesh/one/a.yaml': service('a') })
  const { sink } = await begin(t, join(home, 'mesh/one'))
  await rm(join(home, 'mesh'), { recursive: true })
  await write(home, { 'mesh/one/b.yaml': service('b') })
  await until(() => sink.services.has('default/b'), 'what stands there now')
  await rename(join(home, 'mesh/one'), join(home, 'mesh/away'))
  await until(() => sink.link === 'lost', 'lost')
  await rename(join(home, 'mesh/away'), join(home, 'mesh/one'))
  await until(() => sink.link === 'live', 'back')
})

t.test('other events in the folder above are ignored', async t => {
  const home = await folder(t)
  await write(home, { 'one/a.yaml': service('a') })
  let asked = 0
  class CountingClock extends FakeClock {
    override after(ms: number, run: () => void): () => void {
      asked++
      return super.after(ms, run)
    }
  }
  const clock = new CountingClock()
  await begin(t, join(home, 'one'), {}, { clock })
  await writeFile(join(home, 'noise'), '')
  await rm(join(home, 'one/a.yaml'))
  await until(() => asked > 0, 'the removal is heard')
  t.equal(asked, 1)
})

t.test('without events, the rescan finds changes', async t => {
  const clock = new FakeClock()
  const never = 2 ** 30
  const { path, sink } = await begin(
    t,
    undefined,
    { 'a.yaml': service('a') },
    { clock, debounceMs: never, rescanMs: 30_000 },
  )
  await writeFile(join(path, 'b.yaml'), service('b'))
  await clock.advance(30_000)
  await until(() => sink.services.size === 2, 'the new file')
  await rm(join(path, 'a.yaml'))
  await clock.advance(30_000)
  await until(() => sink.services.size === 1, 'the removed one')
  t.same(sink.news(), ['put default/b', 'drop default/a'])
  await rm(path, { recursive: true })
  await clock.advance(30_000)
  await until(() => sink.link === 'lost', 'the loss')
  for (let i = 0; i < 5; i++) await clock.advance(30_000)
  await write(path, { 'b.yaml': service('b') })
  await clock.advance(30_000)
  await until(() => sink.link === 'live', 'the recovery')
  t.same(sink.news(), ['lost', 'reset'], 'the loss is told once')
})

t.test('a close leaves nothing behind', { skip: process.platform !== 'linux' && 'counts inotify watches' }, async t => {
  const clock = new FakeClock()
  const before = watches()
  const { source, path } = await begin(
    t,
    undefined,
    { 'a.yaml': service('a'), 'deep/er/b.yaml': service('b') },
    { clock },
  )
  t.equal(watches(), before + path.split(sep).length - 1 + 3, 'each folder above, the folder and those below')
  await writeFile(join(path, 'a.yaml'), service('a', 81))
  await until(() => clock.waiting === 2, 'a look is planned, besides the rescan')
  await source.close()
  await until(() => watches() === before, 'no watch is left')
  t.equal(clock.waiting, 0)
  await source.close()
})

t.test('a file is read twice after its times have changed', async t => {
  const path = join(await folder(t), 'a.yaml')
  const file = new ManifestFile(path)
  const reader = new ManifestReader()
  const refresh = (stamp: string) => file.refresh(stamp, reader, () => undefined)
  const port = () =>
    [...file.objects.values()].map(({ object }) => (object.kind === 'Service' ? object.spec.ports[0]?.port : 0))[0]
  await writeFile(path, service('a', 81))
  t.equal(await refresh('noon'), 'changed')
  await writeFile(path, service('a', 82))
  t.equal(await refresh('noon'), 'changed', 'written twice within one tick of the clock')
  t.equal(port(), 82)
  t.equal(await refresh('noon'), 'same')
  await writeFile(path, service('a', 83))
  t.equal(await refresh('noon'), 'same', 'by now it would have another date')
  t.equal(await refresh('later'), 'changed')
  t.equal(await refresh('touched'), 'same', 'the content counts')
  await rm(path)
  t.equal(await refresh('gone'), 'gone')
})

t.test('a debounced job runs soon after the last request, and at the latest after ten debounces', async t => {
  const clock = new FakeClock()
  let release: () => void = () => {}
  const begun: number[] = []
  const rounds = new DebouncedJob(
    () => {
      begun.push(clock.now())
      return new Promise(resolve => {
        release = resolve
      })
    },
    { clock, debounceMs: 100, everyMs: 60_000 },
  )
  rounds.start()
  t.same(begun, [0])
  rounds.request()
  await clock.advance(5000)
  t.same(begun, [0], 'never two at a time')
  release()
  await clock.advance(100)
  t.same(begun, [0, 5100], 'but again when it was asked for meanwhile')
  release()
  await clock.advance(900)
  const asked = clock.now()
  for (let i = 0; i < 30; i++) {
    rounds.request()
    await clock.advance(50)
    if (begun.length > 2) break
  }
  t.same(begun.slice(2), [asked + 1000], 'asked all the time')
  release()
  await clock.advance(1000)
  rounds.request()
  await rounds.close()
  await clock.advance(120_000)
  t.equal(begun.length, 3)
  t.equal(clock.waiting, 0)
})

const options: ManifestsOptions = { cluster: 'cluster-1', clock: systemClock, log: silentLog, debounceMs: 20 }

type Files = Readonly<Record<string, string | Buffer>>

/** A source that has delivered its first picture; of a new folder with these files unless a path is given. */
async function begin(t: Test, given: string | undefined, files: Files = {}, more: Partial<ManifestsOptions> = {}) {
  const path = given ?? (await folder(t))
  await write(path, files)
  const source = createManifestsSource(path, { ...options, ...more })
  const sink = new RecordingSink()
  t.teardown(() => source.close())
  source.start(sink)
  await until(() => sink.link === 'live', 'the first picture')
  sink.news()
  return { path, source, sink }
}

async function folder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'starlane-manifests-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

async function write(home: string, files: Files): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(join(home, name, '..'), { recursive: true })
    await writeFile(join(home, name), content)
  }
}

/** What the kernel watches for this process. */
function watches(): number {
  const texts = readdirSync('/proc/self/fdinfo').map(fd => {
    try {
      return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')
    } catch {
      return ''
    }
  })
  return texts.join('\n').match(/^inotify wd:/gm)?.length ?? 0
}

async function replace(path: string, content: string): Promise<void> {
  await writeFile(`${path}.new`, content)
  await rename(`${path}.new`, path)
}

/** Makes a change of its own and waits until the sink has it: all that was written before has been looked at by then. */
async function settle(path: string, sink: RecordingSink, number: number): Promise<void> {
  const name = `mark-${number}`
  await replace(join(path, `${name}.yaml`), `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name} }\n`)
  await until(() => sink.namespaces.has(name), name)
}

/** Five lines, without a separator. */
function service(name: string, port = 80): string {
  return `apiVersion: v1\nkind: Service\nmetadata: { name: ${name} }\nspec:\n  ports: [{ port: ${port} }]\n`
}

function manifest({ namespace, name, clusterIP, addresses }: Declared): string {
  return `apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: ${namespace}, annotations: { service.cilium.io/global: "true" } }
spec:
  clusterIP: ${clusterIP}
  ports: [{ name: http, port: 80 }]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: ${name}-1
  namespace: ${namespace}
  labels: { kubernetes.io/service-name: ${name} }
addressType: IPv4
ports: [{ name: http, port: 8080 }]
endpoints: ${JSON.stringify(addresses.map(address => ({ addresses: [address] })))}
`
}
