/** The JSON Schema for editors: it takes what the loader takes, and refuses what it refuses, as far as a schema can. */
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { deprecations } from '../../../proxy/config/deprecations.ts'
import { deprecated, duration, integer, list, record, table } from '../../../proxy/config/fields.ts'
import { renderJsonSchema } from '../../../proxy/config/json-schema.ts'
import { parseConfig } from '../../../proxy/config/load.ts'
import { faults } from '../../support/json-schema/faults.ts'

const file = 'conf/starlane.schema.json'
const schema = JSON.parse(renderJsonSchema())

t.test('the file is what scripts/reference.ts writes', async t => {
  t.equal(readFileSync(file, 'utf8'), renderJsonSchema())
})

t.test('every configuration of conf/ and deploy/ fits', async t => {
  for (const path of globSync([
    'conf/*.yaml',
    'conf/examples/*.yaml',
    'conf/demo/*.yaml',
    'deploy/overlays/*/starlane.yaml',
  ]))
    t.same(faults(schema, parse(readFileSync(path, 'utf8'))), [], path)
  const all = readFileSync('conf/starlane.yaml', 'utf8').replace(/^( *)#(?=proxy|dns|health| {2}\w)/gm, '$1')
  t.same(faults(schema, parse(all, { uniqueKeys: false })), [], 'with options switched on')
  for (const path of globSync(['conf/*.yaml', 'conf/examples/*.yaml', 'conf/demo/*.yaml'])) {
    const [, named = ''] = /^# yaml-language-server: \$schema=(.+)\n/.exec(readFileSync(path, 'utf8')) ?? []
    t.equal(join(dirname(path), named), file, `${path} names it for editors`)
  }
})

t.test('values of every kind, and an editor underlines what the loader refuses', async t => {
  const base = 'cluster: a\nclusters: [{ name: a, id: 1, source: { manifests: . } }]\n'
  for (const good of [
    'proxy: { vips: clusterIP }',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of the configuration
    'proxy: { vips: { cidr: 127.96.0.0/16 }, idle: { tcp: 1h30m }, dial: { attempts: "${ATTEMPTS:-3}" } }',
    'stale: { after: 0, drop: never }',
    'dns: { upstream: 10.96.0.10 }',
    'plugins: [{ use: affinity }]',
    'publish: { endpoints: ["https://a:2379"], tenants: { blue: ["blue/*"] } }',
  ]) {
    const text = `${base}${good}`
    t.doesNotThrow(() => parseConfig(text, 'a.yaml', {}), good)
    t.same(faults(schema, parse(text)), [], good)
  }
  for (const bad of [
    'proxy: { vips: pods }',
    'proxy: { engine: fast }',
    'proxy: { dial: { attempts: 99 } }',
    'proxy: { dial: { timeout: 5 } }',
    'proxy: { dail: {} }',
    'stale: { after: soon }',
    'admin: nothing',
    'clustersss: []',
  ]) {
    const text = `${base}${bad}`
    t.throws(() => parseConfig(text, 'a.yaml', {}), bad)
    t.not(faults(schema, parse(text)).length, 0, bad)
  }
})

t.test('a file of a newer version is refused with the remedy', async t => {
  const text = 'version: 2\ncluster: a\nclusters: [{ name: a, id: 1, source: { manifests: . } }]\n'
  t.throws(() => parseConfig(text, 'a.yaml', {}), /a\.yaml:1 .*version.*2 is newer than 1.*upgrade it/s)
  t.equal(parseConfig(text.replace('2', '1'), 'a.yaml', {}).config.version, 1)
})

t.test('deprecated fields work, and are named with their place and what to write', async t => {
  const fields = {
    wait: deprecated(duration('The time to wait.'), 'write timeout; it is removed in 2.0'),
    lists: list(
      'Rows.',
      table('A row.', { old: deprecated(integer('A number.', { min: 1, max: 9 }), 'leave it out') }),
      [],
    ),
    named: record(
      'By name.',
      table('A row.', { old: deprecated(integer('A number.', { min: 1, max: 9 }), 'leave it out') }),
      {},
    ),
  }
  t.equal(
    fields.wait.parse('5s', [], () => {}),
    5000,
  )
  const found = [...deprecations(fields, { wait: '5s', lists: [{}, { old: 1 }], named: { x: { old: 2 } } })]
  t.same(found, [
    { path: ['wait'], message: 'is deprecated: write timeout; it is removed in 2.0' },
    { path: ['lists', 1, 'old'], message: 'is deprecated: leave it out' },
    { path: ['named', 'x', 'old'], message: 'is deprecated: leave it out' },
  ])
  t.same([...deprecations(fields, { lists: [{}] })], [])
})
