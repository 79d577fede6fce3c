// The import rule holds for the sources, and is itself tested with made-up ones.
import { existsSync } from 'node:fs'
import t from 'tap'
import { readSources, violations } from '../scripts/imports.ts'

t.test('the sources obey the import rule', async t => {
  t.same(violations(readSources()), [])
})

const check = (sources: Record<string, string>) => violations(new Map(Object.entries(sources)))

t.test('what each folder may import', async t => {
  const allowed: [file: string, imported: string][] = [
    ['proxy/model/flow.ts', './backend.ts'],
    ['proxy/config/fields.ts', '../model/error.ts'],
    ['proxy/config/load.ts', './schema.ts'],
    ['proxy/config/load.ts', './fields.ts'],
    ['proxy/plugin.ts', './model/flow.ts'],
    ['proxy/plugin.ts', './config/fields.ts'],
    ['proxy/dns/answer.ts', '../model/directory.ts'],
    ['proxy/dns/answer.ts', '../config/fields.ts'],
    ['proxy/dns/answer.ts', './cache.ts'],
    ['proxy/dns/answer.ts', 'dns2'],
    ['proxy/sources/etcd/etcd-source.ts', '../source.ts'],
    ['proxy/sources/etcd/etcd-source.ts', '../../clients/etcd/session.ts'],
    ['proxy/publish/publisher.ts', '../clients/clustermesh.ts'],
    ['proxy/writeback/writer.ts', '../clients/kubernetes/client.ts'],
    ['proxy/clients/etcd/session.ts', '../clustermesh.ts'],
    ['proxy/chain/choose.ts', '../plugin.ts'],
    ['proxy/runtime.ts', './mesh/mesh.ts'],
    ['proxy/runtime/wire.ts', '../dataplane/streams.ts'],
    ['proxy/runtime.ts', './runtime/wire.ts'],
    ['proxy/cli/run.ts', '../runtime.ts'],
    ['proxy/cli/validate.ts', '../config/load.ts'],
    ['plugins/tenancy/index.ts', '../../proxy/plugin.ts'],
    ['plugins/tenancy/index.ts', './zones.ts'],
    ['plugins/tenancy/index.ts', 'starlane'],
    ['test/dns/answer.test.ts', '../../proxy/dns/answer.ts'],
    ['test/dns/answer.test.ts', '../support/clock.ts'],
    ['bench/flows.ts', '../proxy/runtime.ts'],
  ]
  for (const [file, imported] of allowed) {
    t.same(check({ [file]: `import { x } from '${imported}'` }), [], `${file} sees ${imported}`)
  }
})

t.test('what each folder may not import', async t => {
  const forbidden: [file: string, imported: string, rule: string][] = [
    ['proxy/model/flow.ts', '../plugin.ts', 'model/ sees only itself'],
    ['proxy/model/flow.ts', '../config/fields.ts', 'model/ sees only itself'],
    ['proxy/config/fields.ts', './schema.ts', 'config/fields.ts sees only model/'],
    ['proxy/plugin.ts', './chain/choose.ts', 'plugin.ts sees only'],
    ['proxy/dns/answer.ts', '../mesh/cluster-state.ts', 'a folder of proxy/ sees only'],
    ['proxy/dns/answer.ts', '../config/load.ts', 'a folder of proxy/ sees only'],
    ['proxy/dns/answer.ts', '../plugin.ts', 'a folder of proxy/ sees only'],
    ['proxy/dns/answer.ts', '../runtime.ts', 'a folder of proxy/ sees only'],
    ['proxy/dns/answer.ts', '../../package.json', 'a folder of proxy/ sees only'],
    ['proxy/dns/answer.ts', 'starlane', 'a folder of proxy/ sees only'],
    ['proxy/dns/forward/cache.ts', '../../clients/etcd/client.ts', 'a folder of proxy/ sees only'],
    ['proxy/clients/etcd/session.ts', '../../sources/source.ts', 'a folder of proxy/ sees only'],
    ['proxy/sources/source.ts', '../publish/publisher.ts', 'sources/ sees only'],
    ['proxy/publish/publisher.ts', '../sources/source.ts', 'publish/ sees only'],
    ['proxy/writeback/writer.ts', '../sources/source.ts', 'writeback/ sees only'],
    ['proxy/chain/load.ts', '../balancer/maglev.ts', 'chain/ sees only'],
    ['proxy/chain/load.ts', '../../plugins/tenancy/index.ts', 'chain/ sees only'],
    ['proxy/runtime.ts', './cli/run.ts', 'runtime sees all of proxy/ except cli/'],
    ['proxy/runtime.ts', '../plugins/tenancy/index.ts', 'runtime sees all of proxy/ except cli/'],
    ['proxy/runtime.ts', '../test/support/clock.ts', 'runtime sees all of proxy/ except cli/'],
    ['proxy/cli/status.ts', '../admin/status.ts', 'cli/ sees only'],
    ['proxy/cli/status.ts', '../plugin.ts', 'cli/ sees only'],
    ['plugins/tenancy/index.ts', '../../proxy/model/flow.ts', 'a plugin sees only'],
    ['plugins/tenancy/index.ts', '../affinity/index.ts', 'a plugin sees only'],
    ['plugins/tenancy/index.ts', '../shared.ts', 'a plugin sees only'],
    ['bench/flows.ts', '../test/support/clock.ts', 'nothing imports test/'],
    ['scripts/docs.ts', '../test/run.ts', 'nothing imports test/'],
  ]
  for (const [file, imported, rule] of forbidden) {
    const [violation = '', ...more] = check({ [file]: `\nimport { x } from '${imported}'` })
    t.ok(violation.startsWith(`${file}:2 imports `), `${file} does not see ${imported}`)
    t.ok(violation.includes(`: ${rule}`), `the message names the rule: ${rule}`)
    t.same(more, [])
  }
})

t.test('every way to import is seen', async t => {
  const ways = [
    `import '../mesh/cluster-state.ts'`,
    `import type { ClusterState } from '../mesh/cluster-state.ts'`,
    `import { type ClusterState } from '../mesh/cluster-state.ts'`,
    `export { ClusterState } from '../mesh/cluster-state.ts'`,
    `export type * from '../mesh/cluster-state.ts'`,
    `const load = () => import('../mesh/cluster-state.ts')`,
    'const load = () => import(`../mesh/cluster-state.ts`)',
    `type ClusterState = import('../mesh/cluster-state.ts').ClusterState`,
    `let shelf: typeof import('../mesh/cluster-state.ts')`,
  ]
  for (const way of ways) t.match(check({ 'proxy/dns/answer.ts': way }), [/^proxy\/dns\/answer\.ts:1 imports /], way)
  t.same(
    check({
      'proxy/dns/answer.ts': `// import '../mesh/cluster-state.ts'\nconst text = "import '../mesh/cluster-state.ts'"`,
    }),
    [],
  )
  t.same(check({ 'proxy/chain/load.ts': 'const load = (path: string) => import(path)' }), [], 'plugins are loaded so')
})

t.test('a cycle is reported once, with all its files', async t => {
  const found = check({
    'proxy/dns/a.ts': `import './b.ts'`,
    'proxy/dns/b.ts': `\nimport type { C } from './c.ts'`,
    'proxy/dns/c.ts': `import './b.ts'`,
    'proxy/dns/d.ts': `import './a.ts'`,
  })
  t.same(found, ['proxy/dns/b.ts:2 is in an import cycle: proxy/dns/b.ts -> proxy/dns/c.ts -> proxy/dns/b.ts'])
  t.match(check({ 'proxy/dns/a.ts': `import './a.ts'` }), [/cycle: proxy\/dns\/a\.ts -> proxy\/dns\/a\.ts$/])
})

t.test('two paths to the same file are no cycle', async t => {
  const sources = { 'proxy/dns/a.ts': `import './b.ts'\nimport './c.ts'`, 'proxy/dns/b.ts': `import './c.ts'` }
  t.same(check({ ...sources, 'proxy/dns/c.ts': '' }), [])
})

t.test('rooms go one way', async t => {
  const allowed: [file: string, imported: string][] = [
    ['proxy/dns/zones/answer.ts', '../message/wire.ts'],
    ['proxy/dns/forward/cache.ts', '../message/query.ts'],
    ['proxy/dns/server/tcp.ts', '../message/wire.ts'],
    ['proxy/dns/server/tcp.ts', '../options.ts'],
    ['proxy/dns/respond.ts', './server/udp.ts'],
    ['proxy/dataplane/streams/engine.ts', '../flow/engine-core.ts'],
    ['proxy/dataplane/native/engine.ts', '../flow/engine-core.ts'],
    ['proxy/dataplane/frontends/listeners.ts', '../engine.ts'],
    ['proxy/dataplane/engines.ts', './native/engine.ts'],
  ]
  for (const [file, imported] of allowed) {
    t.same(check({ [file]: `import { x } from '${imported}'` }), [], `${file} sees ${imported}`)
  }
  const forbidden: [file: string, imported: string][] = [
    ['proxy/dns/message/wire.ts', '../zones/view.ts'],
    ['proxy/dns/zones/answer.ts', '../forward/resolver.ts'],
    ['proxy/dns/forward/resolver.ts', '../zones/answer.ts'],
    ['proxy/dns/forward/upstream.ts', '../server/udp.ts'],
    ['proxy/dns/server/listen.ts', '../zones/answer.ts'],
    ['proxy/dataplane/flow/outcome.ts', '../streams/dial.ts'],
    ['proxy/dataplane/flow/outcome.ts', '../native/addon.ts'],
    ['proxy/dataplane/native/transport.ts', '../streams/bind.ts'],
    ['proxy/dataplane/streams/bind.ts', '../native/addon.ts'],
    ['proxy/dataplane/frontends/listeners.ts', '../flow/drain.ts'],
    ['proxy/dataplane/xdp/engine.ts', '../flow/engine-core.ts'],
  ]
  for (const [file, imported] of forbidden) {
    const [violation = '', ...more] = check({ [file]: `import { x } from '${imported}'` })
    t.match(violation, `${file}:1 imports `, `${file} does not see ${imported}`)
    t.match(violation, 'sees only ')
    t.same(more, [])
  }
})

t.test('a room sees what a file beside the rooms imports', async t => {
  const found = check({
    'proxy/dns/stats.ts': `import './counters.ts'\nimport './message/wire.ts'`,
    'proxy/dns/counters.ts': `import './server/udp.ts'`,
    'proxy/dns/server/udp.ts': `import '../message/wire.ts'`,
    'proxy/dns/forward/upstream.ts': `import '../stats.ts'`,
    'proxy/dns/server/tcp.ts': `import '../stats.ts'`,
  })
  t.same(found, [
    'proxy/dns/forward/upstream.ts:1 imports proxy/dns/stats.ts, which leads to proxy/dns/server/udp.ts: ' +
      'of the rooms of proxy/dns/, forward/ sees only itself and message',
  ])
})

t.test('every program that is started by its path exists', async t => {
  let found = 0
  for (const [file, text] of readSources()) {
    for (const [, path = ''] of text.matchAll(/new URL\(\s*'([^'`$]+\.(?:ts|js|c))',\s*import\.meta\.url\s*\)/g)) {
      t.ok(existsSync(new URL(path, new URL(`../${file}`, import.meta.url))), `${file}: ${path}`)
      found++
    }
  }
  t.ok(found > 10, 'the pattern still matches')
})
