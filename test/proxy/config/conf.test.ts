/** What lies in conf/ and docs/ about the configuration is true. */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import t from 'tap'
import { isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import { ConfigError } from '../../../proxy/config/error.ts'
import { describe } from '../../../proxy/config/fields.ts'
import { loadConfig, parseConfig } from '../../../proxy/config/load.ts'
import { renderReference } from '../../../proxy/config/reference.ts'
import { schema } from '../../../proxy/config/schema.ts'

const file = 'conf/starlane.yaml'
const text = readFileSync(file, 'utf8')
/** Options that are switched off are switched on. */
const all = text.replace(/^( *)#(?=\S)/gm, '$1')
const fields = describe(schema(path => path))

t.test('conf/starlane.yaml has only defaults', async t => {
  const clusters = ['cluster-1', 'cluster-2'].map(
    (name, i) => `  - { name: ${name}, id: ${i + 1}, source: { manifests: ./demo/${name} } }`,
  )
  const least = parseConfig(`cluster: cluster-1\nclusters:\n${clusters.join('\n')}`, file, {})
  const full = parseConfig(text, file, {})
  t.same(full.config, least.config)
  t.same(full.warnings, [])
})

t.test('conf/starlane.yaml has every field, with its default and a comment', async t => {
  const given = new Map<string, { line: number; values: string[] }>()
  const lines = new LineCounter()
  collect(parseDocument(all, { uniqueKeys: false, lineCounter: lines }).contents, '')
  for (const { key, fallback } of fields) {
    const field = given.get(key)
    if (!t.ok(field, `${key} is there`) || field === undefined) continue
    t.ok(isDescribed(field.line), `${key} has a comment above or behind it`)
    const standard = !['', 'required', 'alternative'].includes(fallback) && key !== 'plugins'
    if (standard) t.ok(field.values.includes(fallback), `${key} has its default ${fallback} among ${field.values}`)
  }
  t.same(
    [...given.keys()].filter(key => !known(key)),
    [],
    'and nothing else',
  )

  function collect(node: unknown, under: string): void {
    if (isSeq(node)) for (const item of node.items) collect(item, `${under.slice(0, -1)}[].`)
    if (!isMap(node)) return
    for (const { key, value } of node.items) {
      if (!isScalar(key) || !key.range) throw new Error('every key is a word')
      const name = under + String(key.value)
      const field = given.get(name) ?? { line: lines.linePos(key.range[0]).line, values: [] }
      const written: unknown = isScalar(value) || isSeq(value) ? value.toJSON() : undefined
      if (written !== undefined)
        field.values.push(typeof written === 'object' ? JSON.stringify(written) : String(written))
      given.set(name, field)
      collect(value, `${name}.`)
    }
  }
})

t.test('options that are switched off in conf/starlane.yaml are valid', async t => {
  try {
    parseConfig(all, file, {})
    t.fail('alternatives exclude each other')
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const exclusive = /^(is given twice|cannot be combined with)/
    t.same(
      error.faults.filter(({ message }) => !exclusive.test(message)),
      [],
    )
  }
})

t.test('the examples load without a warning, and the files they refer to exist', async t => {
  const examples = globSync('conf/examples/*.yaml')
  t.same(examples.map(example => basename(example, '.yaml')).sort(), [
    'etcd',
    'high-availability',
    'kubeconfig',
    'minimal',
    'policy',
    'shared-services',
    'stateless-stateful',
  ])
  for (const example of examples) {
    const { config, warnings } = await loadConfig(example, { HOME: '/home/luke' })
    t.same(warnings, [], example)
    for (const { source } of config.clusters) {
      if ('manifests' in source) t.ok(existsSync(source.manifests), `${example}: ${source.manifests} exists`)
    }
  }
})

t.test('the manifests of the examples are Kubernetes objects', async t => {
  for (const manifest of globSync('conf/examples/manifests/**/*.yaml')) {
    const kinds = readFileSync(manifest, 'utf8')
      .split(/^---$/m)
      .map(part => parseDocument(part).toJSON())
    for (const object of kinds) {
      t.match(
        object,
        {
          apiVersion: String,
          kind: /^(Service|EndpointSlice|Namespace|Pod|\w*Policy|CiliumCIDRGroup)$/,
          metadata: { name: String },
        },
        manifest,
      )
    }
  }
})

t.test('docs/configuration.md is generated from the fields', async t => {
  t.equal(readFileSync('docs/configuration.md', 'utf8'), renderReference(), 'node scripts/reference.ts writes it')
  for (const { key, help } of fields) t.ok(help.length > 4, `${key} has a help line`)
})

function isDescribed(line: number): boolean {
  const [before = '', own = ''] = all.split('\n').slice(line - 2, line)
  return /^ *# /.test(before) || / # /.test(own)
}

function known(key: string): boolean {
  return /^(plugins\[\]\.options|dns\.routes)\./.test(key) || fields.some(field => field.key === key)
}
