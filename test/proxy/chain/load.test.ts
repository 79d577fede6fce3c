/** Loading plugins: names, paths, packages, and every error. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { type LoadRequest, loadPlugins, type PluginUse } from '../../../proxy/chain/loading/load.ts'
import { hostParts } from '../../support/chain.ts'
import { FakeClock } from '../../support/clock.ts'

/** A folder with these files in it; its name is the folder of the configuration. */
function folderOf(t: Test, files: Record<string, string>): string {
  const folder = t.testdir()
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  return folder
}

/** The source of a plugin of JavaScript that needs nothing. */
const source = (name: string, members = 'create: () => ({})', options = '{}') =>
  `export default { name: '${name}', options: ${options}, onError: 'skip', ${members} }\n`

function load(folder: string, uses: readonly (string | PluginUse)[], given: Partial<LoadRequest> = {}) {
  return loadPlugins({
    uses: uses.map(use => (typeof use === 'string' ? { use } : use)),
    folder,
    placeOf: ([, index]) => `starlane.yaml:${10 + Number(index)}`,
    host: hostParts(),
    ...given,
  })
}

async function messages(...given: Parameters<typeof load>): Promise<string[]> {
  const { plugins, errors } = await load(...given)
  if (errors.length > 0 && plugins.length > 0) throw new Error('plugins in spite of errors')
  return errors.map(({ code, message }) => `${code} ${message}`)
}

t.test('by name, by path and from a package, in the order of the list', async t => {
  const folder = folderOf(t, {
    'mine.js': source('mine'),
    'deep/typed.ts': `const name: string = 'typed'\n${source('x').replace("'x'", 'name')}`,
    'node_modules/esm-only/package.json': '{"name":"esm-only","exports":{"import":"./lib/plugin.mjs"}}',
    'node_modules/esm-only/lib/plugin.mjs': source('esm-only'),
    'node_modules/@acme/quota/package.json':
      '{"type":"module","exports":{".":{"types":"./x.d.ts","require":"./no.cjs","node":{"import":"./yes.js"}}}}',
    'node_modules/@acme/quota/yes.js': source('quota'),
    'node_modules/plain/package.json': '{"main":"main.cjs"}',
    'node_modules/plain/main.cjs': `exports.__esModule = true\n${source('plain').replace('export default', 'exports.default =')}`,
    'node_modules/bare/package.json': '{"exports":null}',
    'node_modules/bare/index.js': source('bare').replace('export default', 'module.exports ='),
  })
  const uses = [
    './mine.js',
    'affinity',
    './deep/typed.ts',
    'npm:esm-only',
    'npm:@acme/quota',
    'npm:plain',
    'npm:bare',
    join(folder, 'deep/../mine.js'),
  ]
  const { plugins, errors } = await load(folder, [...uses.slice(0, -1), { use: uses.at(-1) ?? '', as: 'mine-too' }])
  t.same(errors, [])
  t.same(
    plugins.map(({ name, from }) => [name, from]),
    [
      ['mine', './mine.js'],
      ['affinity', 'built-in'],
      ['typed', './deep/typed.ts'],
      ['esm-only', 'npm:esm-only'],
      ['quota', 'npm:@acme/quota'],
      ['plain', 'npm:plain'],
      ['bare', 'npm:bare'],
      ['mine-too', uses.at(-1)],
    ],
  )
})

t.test('a package is found from the folder of the configuration upwards', async t => {
  const folder = folderOf(t, {
    'etc/starlane/starlane.yaml': '',
    'node_modules/near/package.json': '{"type":"module"}',
    'node_modules/near/index.js': source('near'),
  })
  const { plugins } = await load(join(folder, 'etc/starlane'), ['npm:near'])
  t.same(
    plugins.map(({ name }) => name),
    ['near'],
  )
})

t.test('plugins that cannot be found', async t => {
  const folder = folderOf(t, {
    'node_modules/types-only/package.json': '{"exports":{"types":"./x.d.ts"}}',
    'node_modules/broken/package.json': '{',
    'node_modules/empty/package.json': '{}',
  })
  const cases: [use: string, message: RegExp][] = [
    [
      'afinity',
      /^no built-in plugin is named "afinity"; did you mean "affinity"\? \(built-in plugins: affinity, circuit-breaker, policy, session-affinity, tenancy\)$/,
    ],
    ['quota', /^no built-in plugin is named "quota"; for a file write \.\/quota\.js, for a package npm:quota/],
    ['mine.js', /^"mine\.js" is not a plugin; write a name \(affinity\), a path \(\.\/my-plugin\.js\) or npm:NAME$/],
    ['Affinity', /^"Affinity" is not a plugin/],
    ['', /^"" is not a plugin/],
    ['./gone.js', /^there is no file .*\/gone\.js; paths are relative to the configuration file$/],
    ['npm:gone', /^package gone is not installed; run npm install gone in /],
    ['npm:../gone', /^"npm:\.\.\/gone" is not a package name; write npm:NAME or npm:@SCOPE\/NAME$/],
    ['npm:types-only', /^package types-only in .* has no export that can be imported$/],
    ['npm:broken', /package\.json cannot be read: .*; install the package again$/],
    ['npm:empty', /^there is no file .*node_modules\/empty\/index\.js/],
  ]
  for (const [use, expected] of cases) {
    const [message = '', ...more] = await messages(folder, [use])
    const start = 'PLUGIN_LOAD starlane.yaml:10  plugins[0].use: '
    t.ok(message.startsWith(start), message)
    t.match(message.slice(start.length), expected)
    t.same(more, [])
  }
})

t.test('modules that are not plugins', async t => {
  const files: Record<string, [text: string, message: RegExp]> = {
    'empty.js': ['', /empty\.js has no default export; export default definePlugin\(/],
    'named.js': ["export const name = 'x'", /has no default export/],
    'function.js': ['export default () => {}', /does not export a plugin/],
    'nameless.js': [source('Bad Name'), /has a bad name: "Bad Name" is not a valid name; use a-z, 0-9 and -/],
    'taken.js': [source('no-backend'), /has a bad name: "no-backend" is reserved by Starlane/],
    'options.js': [source('x', undefined, '{ a: 1 }'), /has no options; write options: \{\} if it takes none/],
    'on-error.js': [
      source('x').replace("'skip'", "'ignore'"),
      /has no onError; write "refuse" for a law or "skip" for a wish/,
    ],
    'decides.js': [source('x', "decides: 'never', create: () => ({})"), /has a bad decides; write "change" or "flow"/],
    'applies.js': [source('x', 'appliesTo: true, create: () => ({})'), /has an appliesTo that is not a function/],
    'create.js': [source('x', 'make: () => ({})'), /has no create\(options, host\)/],
    'syntax.js': ['export default {', /syntax\.js:1 cannot be imported: Unexpected end of input/],
    'throws.js': ["throw new Error('at import')", /cannot be imported: at import/],
    'imports.js': [
      "import 'not-there'",
      /cannot be imported: Cannot find package 'not-there'.*; install the packages that it imports/,
    ],
    'enum.ts': [
      'enum A { B }\nexport default A',
      /cannot be imported: .*; only erasable TypeScript syntax is supported/s,
    ],
    'text.txt': ['hello', /cannot be imported: .*; use \.js or \.mjs/],
    'create-throws.js': [
      source('x', "create: () => { throw new Error('no disk') }"),
      /create\(\) of \.\/create-throws\.js threw "no disk"; fix the plugin/,
    ],
    'create-later.js': [
      source('x', "create: async () => { throw new Error('x') }"),
      /create\(\) of .* returned a promise; return the plugin at once/,
    ],
    'create-none.js': [source('x', 'create: () => undefined'), /returned undefined; return an object of hooks/],
    'hook.js': [source('x', 'create: () => ({ pick: 7 })'), /returned a "pick" that is not a function/],
    'table.js': [
      source('x', "create: (_, host) => { host.table('t', {}); return {} }"),
      /threw "the max of a table must be an integer from 1, not undefined"/,
    ],
    'tables.js': [
      source('x', "create: (_, host) => { host.table('t', { max: 1 }); host.table('t', { max: 1 }); return {} }"),
      /threw "table "t" exists already; keep a reference to it"/,
    ],
    'counter.js': [
      source('x', "create: (_, host) => { host.counter('a b', 'x'); return {} }"),
      /threw "counter "a b": use a name of \[a-z0-9_\], starting with a letter"/,
    ],
  }
  const folder = folderOf(t, Object.fromEntries(Object.entries(files).map(([name, [text]]) => [name, text])))
  for (const [name, [, expected]] of Object.entries(files)) {
    const [message = '', ...more] = await messages(folder, [`./${name}`])
    t.match(message, /^PLUGIN_LOAD starlane\.yaml:10 {2}plugins\[0\]/, name)
    t.match(message, expected)
    t.same(more, [])
  }
})

t.test('an import that never ends times out, and a folder is not a module', async t => {
  const folder = folderOf(t, {
    'waits.js': 'await new Promise(() => {})\nexport default {}',
    'folder/index.js': source('x'),
  })
  const clock = new FakeClock()
  let told: string[] | undefined
  void messages(folder, ['./waits.js', './folder'], { host: hostParts({ clock }) }).then(all => {
    told = all
  })
  while (!told) await clock.advance(1000)
  t.match(
    told[0],
    /^PLUGIN_LOAD starlane\.yaml:10 {2}plugins\[0\]\.use: .*waits\.js was not imported within 10 s; a top-level `await` /,
  )
  t.match(told[1], /^PLUGIN_LOAD starlane\.yaml:11 {2}plugins\[1\]\.use: .*folder is a folder; give a file in it$/)
})

t.test('an ES module in a CommonJS folder: the error says what to do', async t => {
  const folder = folderOf(t, {
    'package.json': '{ "type": "commonjs" }',
    'imports.js': "import 'node:fs'",
    'exports.js': source('x'),
    'right.mjs': source('right'),
  })
  const told = await messages(folder, ['./imports.js', './exports.js', './right.mjs'])
  t.equal(told.length, 2)
  for (const message of told) t.match(message, /cannot be imported: .*; name it \.mjs or \.mts, or set "type"/)
})

t.test('names', async t => {
  const folder = folderOf(t, { 'one.js': source('one'), 'other.js': source('one') })
  t.same(
    await messages(folder, ['./one.js', { use: './other.js', as: 'two' }, './one.js', { use: './one.js', as: 'two' }]),
    [
      'PLUGIN_LOAD starlane.yaml:12  plugins[2]: "one" is already the name of plugins[0]; give this one another name with `as`',
      'PLUGIN_LOAD starlane.yaml:13  plugins[3]: "two" is already the name of plugins[1]; give this one another name with `as`',
    ],
  )
  t.same(
    await messages(folder, [
      { use: './one.js', as: 'Two!' },
      { use: './one.js', as: 'limit' },
    ]),
    [
      'PLUGIN_LOAD starlane.yaml:10  plugins[0].as: "Two!" is not a valid name; use a-z, 0-9 and -, starting with a letter',
      'PLUGIN_LOAD starlane.yaml:11  plugins[1].as: "limit" is reserved by Starlane; use another name',
    ],
  )
})

t.test('options', async t => {
  const folder = folderOf(t, {
    'sized.js': `const size = { type: 'number', help: 'x', fallback: 7, parse: (value, path, report) =>
        typeof value === 'number' ? value : report({ path, message: 'is no number' }) }
      ${source('sized', 'create: (options, host) => ({ state: () => [host.cluster.name, options.size] })', '{ size }')}`,
  })
  const { plugins } = await load(folder, ['./sized.js', { use: './sized.js', as: 'b', options: { size: 8 } }])
  t.same(
    plugins.map(({ plugin }) => plugin.state?.()),
    [
      ['cluster-1', 7],
      ['cluster-1', 8],
    ],
  )
  t.same(
    await messages(folder, [
      { use: './sized.js', options: { size: 'big', sizes: 1 } },
      { use: 'affinity', options: 7 },
    ]),
    [
      'PLUGIN_OPTION starlane.yaml:10  plugins[0].options.sizes: is not a known key; did you mean "size"? (known keys: size)',
      'PLUGIN_OPTION starlane.yaml:10  plugins[0].options.size: is no number',
      'PLUGIN_OPTION starlane.yaml:11  plugins[1].options: 7 is not a mapping of options (topology, minHealthyNear)',
    ],
  )
})

t.test('nothing is created if anything is wrong, and instances that were created are closed', async t => {
  const key = `created-${process.pid}`
  const note = (text: string) => `(globalThis['${key}'] ??= []).push('${text}')`
  const folder = folderOf(t, {
    'a.js': source('a', `create: () => { ${note('a made')}; return { close: () => { ${note('a closed')} } } }`),
    'b.js': source('b', "create: () => { throw new Error('b') }"),
    'c.js': source('c', `create: () => { ${note('c made')}; return { close: async () => { throw 1 } } }`),
  })
  const notes = () => ((globalThis as Record<string, unknown>)[key] as string[] | undefined) ?? []
  t.teardown(() => delete (globalThis as Record<string, unknown>)[key])
  t.match(await messages(folder, ['./a.js', 'nobody']), [/nobody/])
  t.same(notes(), [])
  t.match(await messages(folder, ['./a.js', './b.js', './c.js']), [/threw "b"/])
  t.same(notes(), ['a made', 'c made', 'a closed'])
})

t.test(
  'a plugin that takes options in place keeps its instance, and gets them only if the whole reload succeeds',
  async t => {
    const folder = folderOf(t, {})
    const uses = (minimum: number) => [{ use: 'circuit-breaker', options: { minimum } }]
    const { plugins: before } = await load(folder, uses(5))
    const { plugins: same, inPlace } = await load(folder, uses(7), { living: before })
    t.equal(same[0], before[0])
    t.match(inPlace, [{ options: { minimum: 7 } }])
    t.equal(before[0]?.options.minimum, 5, 'until the chain is replaced')
    const failed = await load(folder, [...uses(8), { use: './none.js' }], { living: before })
    t.same([failed.plugins, failed.inPlace], [[], []])
  },
)

t.test('after a reload, instances whose entry is unchanged are kept', async t => {
  const folder = folderOf(t, {
    'one.js': source('one', 'create: () => ({ state: () => 1 })', '{}'),
    'two.js': source('two'),
  })
  const uses: PluginUse[] = [
    { use: './one.js' },
    { use: 'session-affinity', options: { clients: 5 } },
    { use: './two.js', as: 'x' },
  ]
  const { plugins: before } = await load(folder, uses)
  const { plugins: same } = await load(folder, uses.toReversed(), { living: before })
  t.same(
    same.map(one => before.indexOf(one)),
    [2, 1, 0],
    'in the new order',
  )
  const changed = [
    { use: './one.js', as: 'other' },
    { use: 'session-affinity', options: { clients: 6 } },
    { use: './two.js', as: 'x' },
  ]
  const { plugins: after } = await load(folder, changed, { living: before })
  t.same(
    after.map(one => before.indexOf(one)),
    [-1, -1, 2],
  )
})
