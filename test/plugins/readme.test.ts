/** The READMEs of the plugins: options, metrics, examples and laws are those of the code. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { loadPlugins, type PluginUse } from '../../proxy/chain/loading/load.ts'
import { describe } from '../../proxy/config/fields.ts'
import { examinePlugin, laws } from '../conformance/plugin.ts'
import { hostParts } from '../support/chain.ts'

const folder = new URL('../../plugins/', import.meta.url).pathname
const builtIns = ['affinity', 'circuit-breaker', 'policy', 'session-affinity', 'tenancy']
const read = (...path: string[]) => readFileSync(join(folder, ...path), 'utf8')

/** What stands in fences of a language. */
function fences(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(([, body = '']) => body)
}

/** What stands between two headings. */
function section(text: string, heading: string): string {
  return text.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0]?.trim() ?? ''
}

async function load(uses: readonly PluginUse[], from = folder) {
  const { plugins, errors } = await loadPlugins({ uses, folder: from, placeOf: () => 'README.md', host: hostParts() })
  if (errors[0]) throw errors[0]
  return plugins
}

for (const name of builtIns) {
  t.test(`the README of ${name}`, async t => {
    const text = read(name, 'README.md')
    const [loaded] = await load([{ use: name }])
    const headings = [...text.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading)
    const expected = ['Options', 'Example', 'Metrics', 'When all is bad']
    t.same(
      headings.filter(heading => expected.includes(heading ?? '')),
      expected,
    )
    t.match(text, new RegExp(`^# ${name}\n\n[A-Z][^\n]*\\.\n\n`), 'one line says what it does')

    const cell = (text: string) => text.replaceAll('|', '\\|')
    const options = describe(loaded?.module.options ?? {}).map(
      ({ key, type, fallback, help }) =>
        `| \`${key}\` | ${cell(type)} | ${fallback && `\`${cell(fallback)}\``} | ${cell(help)} |`,
    )
    const table = ['| option | type | default | meaning |', '|---|---|---|---|', ...options].join('\n')
    t.equal(section(text, 'Options'), options.length > 0 ? table : 'None.')

    const metrics = loaded?.counters().map(({ metric, help }) => `| \`${metric}\` | ${help} |`) ?? []
    const rows = section(text, 'Metrics')
      .split('\n')
      .filter(line => line.startsWith('| `'))
    t.same(rows, metrics)

    const examples = fences(text, 'yaml')
    t.ok(examples.length > 0)
    for (const example of examples) {
      const { plugins } = parse(example) as { plugins: PluginUse[] }
      t.ok((await load(plugins)).some(plugin => plugin.name === name))
    }
  })
}

t.test('the list has every built-in plugin, and nothing else', async t => {
  const folders = readdirSync(folder, { withFileTypes: true }).filter(entry => entry.isDirectory())
  t.same(
    folders
      .map(entry => entry.name)
      .filter(name => name !== 'examples')
      .sort(),
    builtIns,
  )
  for (const name of builtIns) t.match(read('README.md'), `[${name}](${name}/README.md)`)
})

t.test('the guide prints the laws', async t => {
  const printed = section(read('README.md'), 'The laws')
    .split('\n')
    .filter(line => /^\d+\. /.test(line))
  t.same(
    printed,
    Object.values(laws).map((law, i) => `${i + 1}. ${law}`),
  )
})

t.test('the four steps of the guide load and pass the conformance suite', async t => {
  const steps = readdirSync(join(folder, 'examples')).sort()
  const code = steps.map(file => read('examples', file).replace("'../../proxy/plugin.ts'", "'starlane'"))
  t.same(fences(read('README.md'), 'ts'), code)
  t.equal(steps.length, 4)
  for (const file of steps) {
    const options = file.startsWith('3') ? { namespaces: ['default'] } : {}
    const [loaded] = await load([{ use: `./examples/${file}`, options }])
    if (loaded) t.same(await examinePlugin(loaded.module, { options }), [], file)
  }
})

t.test('the configurations of the guide load, including the package', async t => {
  const guide = read('README.md')
  const home = t.testdir()
  const [manifest = ''] = fences(guide, 'json')
  const { name } = JSON.parse(manifest) as { name: string }
  const at = join(home, 'node_modules', name)
  mkdirSync(at, { recursive: true })
  writeFileSync(join(at, 'package.json'), manifest)
  writeFileSync(
    join(at, 'index.js'),
    "export default { name: 'quota', options: {}, onError: 'skip', create: () => ({}) }\n",
  )
  const [byPath = '', byName = ''] = fences(guide, 'yaml')
  const uses = (text: string) => (parse(text) as { plugins: PluginUse[] }).plugins
  t.same(
    (await load(uses(byPath), join(folder, 'examples'))).map(plugin => plugin.name),
    ['home', 'every-other'],
  )
  t.same(
    (await load(uses(byName), home)).map(plugin => plugin.name),
    ['quota'],
  )
})
