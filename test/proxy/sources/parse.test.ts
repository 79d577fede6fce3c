/** Parsing of manifests: YAML, JSON, lists, and the lines of faults. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import v8 from 'node:v8'
import vm from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { parse as parseSlowly, stringify } from 'yaml'
import { membersOf } from '../../../proxy/sources/decode/decode.ts'
import { parseManifest } from '../../../proxy/sources/manifests/parse.ts'
import { linesOf, type RawObject, SyntaxFault } from '../../../proxy/sources/manifests/raw-object.ts'
import { needsKubectl } from '../../support/kubectl.ts'

const fixture = (name: string) => readFileSync(new URL(`../../fixtures/manifests/${name}`, import.meta.url), 'utf8')

function parsed(text: string): RawObject[] {
  return [...parseManifest(text)].filter(raw => raw !== undefined)
}

/** Kind and line of each object. */
function outline(text: string): [kind: unknown, line: number][] {
  return parsed(text).map(({ value, line }) => [(value as { kind?: unknown } | null)?.kind ?? value, line])
}

function fault(text: string): { line: number; message: string } {
  try {
    const objects = parsed(text)
    return { line: 0, message: `no fault but ${objects.length} objects` }
  } catch (error) {
    if (!(error instanceof SyntaxFault)) throw error
    return { line: error.line, message: error.message }
  }
}

const values = (objects: Iterable<RawObject>) => [...objects].map(({ value }) => value)

t.test('documents, with the line where each begins', async t => {
  const cases: [name: string, text: string, outline: [kind: unknown, line: number][]][] = [
    ['nothing', '', []],
    ['only comments', '# nothing\n---\n# here\n...\n', []],
    ['one', 'kind: A\n', [['A', 1]]],
    ['comments before', '\n# a\n---\n# b\n\nkind: A\n', [['A', 6]]],
    [
      'several',
      'kind: A\n---\nkind: B\n---\n---\nkind: C',
      [
        ['A', 1],
        ['B', 3],
        ['C', 6],
      ],
    ],
    [
      'on the line of the marker',
      '--- {kind: A}\n--- # why\nkind: B\n',
      [
        ['A', 1],
        ['B', 3],
      ],
    ],
    [
      'ended by dots',
      'kind: A\n...\nkind: B\n...\n',
      [
        ['A', 1],
        ['B', 3],
      ],
    ],
    [
      'with directives',
      '%YAML 1.2\n---\nkind: A\n...\n%YAML 1.2\n---\nkind: B\n',
      [
        ['A', 3],
        ['B', 7],
      ],
    ],
    [
      'CRLF',
      'kind: A\r\n---\r\nkind: B\r\n',
      [
        ['A', 1],
        ['B', 3],
      ],
    ],
    [
      'what only looks like a marker',
      'kind: "---a"\nb: |\n  ---\n---\nkind: B\n---c: 1\n',
      [
        ['---a', 1],
        ['B', 5],
      ],
    ],
    ['a line separator is no line break', 'kind: A\nb: "x\u2028--- y"\n', [['A', 1]]],
    ['JSON in a YAML file', '{"kind": "A"}\n', [['A', 1]]],
    [
      'JSON documents',
      '{"kind": "A"}\n---\n{"kind": "B"}\n',
      [
        ['A', 1],
        ['B', 3],
      ],
    ],
    ['JSON after blank lines', '\n\n{"kind": "A"}', [['A', 3]]],
    [
      'what is no object is left to the reader',
      '7\n---\nnull\n---\ntext\n',
      [
        [7, 1],
        ['text', 5],
      ],
    ],
  ]
  for (const [name, text, expected] of cases) t.same(outline(text), expected, name)
})

t.test('lists, with the line where each member begins', async t => {
  const cases: [name: string, text: string, outline: [kind: unknown, line: number][]][] = [
    [
      'as kubectl prints them',
      'apiVersion: v1\nitems:\n- kind: A\n  a:\n  - b\n# why\n- kind: B\nkind: List\n',
      [
        ['A', 3],
        ['B', 7],
      ],
    ],
    [
      'kind first',
      'kind: List\nitems:\n-  kind: A\n-\n  kind: B\n',
      [
        ['A', 3],
        ['B', 4],
      ],
    ],
    [
      'indented',
      'kind: List\nitems:\n  - kind: A\n    a: 1\n\n  - kind: B\n',
      [
        ['A', 3],
        ['B', 6],
      ],
    ],
    [
      'in flow style',
      'kind: List\nitems: [{kind: A}, {kind: B},\n  {kind: C}]\n',
      [
        ['A', 2],
        ['B', 2],
        ['C', 3],
      ],
    ],
    [
      'in JSON',
      '{"kind": "List", "items": [\n{"kind": "A", "items": [{}, "]"]},\n{"kind": "B"}\n]}',
      [
        ['A', 2],
        ['B', 3],
      ],
    ],
    [
      'with members that are no objects',
      '{"kind": "List", "items": [1,\n{"kind": "B"}]}',
      [
        [1, 1],
        ['B', 1],
      ],
    ],
    [
      'after another document',
      'kind: A\n---\nkind: List\nitems:\n- kind: B\n',
      [
        ['A', 1],
        ['B', 5],
      ],
    ],
    [
      'with anchors',
      'items:\n- kind: A\n  a: &a 1\n- kind: B\n  a: *a\nkind: List\n',
      [
        ['A', 2],
        ['B', 4],
      ],
    ],
    [
      'of one kind',
      'kind: AList\nitems:\n- metadata: {}\n- metadata: {}\n',
      [
        ['A', 3],
        ['A', 4],
      ],
    ],
    ['and a key that begins with a dash', 'items:\n- kind: A\n-b: 1\nkind: List\n', [['A', 2]]],
    [
      'ended by a dash',
      'kind: List\nitems:\n- kind: A\n-',
      [
        ['A', 3],
        [null, 4],
      ],
    ],
    ['empty', 'kind: List\nitems: []\n', []],
    ['none', 'kind: List\nitems:\n', []],
    ['items of something that is no list', 'kind: Thing\nitems:\n- a\n- b\n', [['Thing', 1]]],
    [
      'a member left empty',
      'kind: List\nitems:\n- kind: A\n- \n',
      [
        ['A', 3],
        [null, 4],
      ],
    ],
  ]
  for (const [name, text, expected] of cases) t.same(outline(text), expected, name)
})

t.test('values equal those of another parser', async t => {
  const text = fixture('kubectl/list.yaml')
  t.same(values(parsed(text)), membersOf(parseSlowly(text)))
  t.same(values(parsed(JSON.stringify(parseSlowly(text), null, 4))), membersOf(parseSlowly(text)))
  t.same(values(parsed(fixture('kubectl/services.json'))), membersOf(parseSlowly(fixture('kubectl/services.json'))))

  const scalar = fc.oneof(
    fc.string(),
    fc.constantFrom('yes', '~', '- a', '---', '#', '& a', '*b', '1e3', 'items:', 'a\n- b\n', '\n---\n'),
    fc.integer(),
    fc.boolean(),
  )
  const thing = fc.dictionary(
    fc.constantFrom('a', 'b', 'c-d', 'items', '-', '% e'),
    fc.oneof(scalar, fc.array(scalar), fc.dictionary(fc.constantFrom('x', 'z'), scalar)),
  )
  const object = thing.map(fields => ({ kind: 'Thing', ...fields }))
  const styles = fc.record({
    indentSeq: fc.boolean(),
    lineWidth: fc.constantFrom(0, 20, 80),
    collectionStyle: fc.constantFrom('any' as const, 'flow' as const),
    defaultStringType: fc.constantFrom('PLAIN' as const, 'QUOTE_DOUBLE' as const, 'BLOCK_LITERAL' as const),
  })
  fc.assert(
    fc.property(fc.array(object, { maxLength: 5 }), styles, (objects, style) => {
      const write = (value: unknown) =>
        stringify(value, { ...style, version: '1.1', aliasDuplicateObjects: false, defaultKeyType: 'PLAIN' })
      const documents = objects.map(object => `---\n${write(object)}`).join('')
      const list = write({ apiVersion: 'v1', items: objects, kind: 'List' })
      const expected = objects.map(object => parseSlowly(write(object)))
      t.strictSame(values(parsed(documents)), expected, documents)
      t.strictSame(values(parsed(list)), expected, list)
    }),
    { numRuns: 150 },
  )
})

t.test('YAML as kubectl understands it', async t => {
  const [object] = values(
    parsed(
      'base: &base {a: 1, b: 2}\nkind: A\nmerged:\n  <<: *base\n  b: 3\nwhen: 2026-02-11\non: yes\n80: x\n010: y\na: 1\na: 2\n',
    ),
  )
  const merged = { a: 1, b: 3 }
  const expected = { base: { a: 1, b: 2 }, kind: 'A', merged, when: '2026-02-11', true: true, 80: 'x', 8: true, a: 2 }
  t.strictSame(object, expected, 'of a key that occurs twice the last value counts')
  const [sly] = values(parsed('kind: A\n__proto__: {polluted: true}\n'))
  t.equal((sly as { polluted?: boolean }).polluted, undefined)
})

const scalars: readonly (readonly [text: string, value: unknown])[] = [
  ...['y', 'Y', 'yes', 'Yes', 'YES', 'on', 'On', 'ON', 'true', 'True', 'TRUE'].map(text => [text, true] as const),
  ...['n', 'N', 'no', 'No', 'NO', 'off', 'Off', 'OFF', 'false', 'False', 'FALSE'].map(text => [text, false] as const),
  ...[
    'yES',
    'oN',
    'tRUE',
    'nULL',
    '_80',
    '1:20',
    '190:20:30',
    '2001-01-01',
    '0x',
    '0b',
    '+',
    '1,000',
    '.',
    'e1',
    '=',
  ].map(text => [text, text] as const),
  ...[
    '80',
    '0x50',
    '0X5_0',
    '0o120',
    '0O120',
    '0120',
    '0b1010000',
    '8_0',
    '80_',
    '+80',
    '80.',
    '80.0',
    '8e1',
    '8.0E+1',
  ].map(text => [text, 80] as const),
  ...['08', '0_8', '010', '0_10'].map(text => [text, 8] as const),
  ...([
    ['-010', -8],
    ['09', 9],
    ['.5', 0.5],
    ['+.5', 0.5],
    ['1_0.5', 10.5],
    ['0x1F_F', 511],
  ] as const),
  ...['~', 'null', 'Null', 'NULL', ''].map(text => [text, null] as const),
  ...[
    '!!str 010',
    '!!int "010"',
    '!!bool "on"',
    '! "true"',
    '! true',
    '!!binary dHJ1ZQ==',
    '!vault abc',
    '!!float .5',
  ].map((text, i) => [text, ['010', 8, true, 'true', 'true', 'true', 'abc', 0.5][i]] as const),
  ['!secret {a: 1}', { a: 1 }],
  ['!secret [a]', ['a']],
]

t.test('scalars as kubectl reads them', async t => {
  for (const [text, value] of scalars)
    t.strictSame(values(parsed(`kind: A\nv: ${text}\n`)), [{ kind: 'A', v: value }], text)
})

t.test('scalars as the installed kubectl reads them', needsKubectl, async t => {
  const lines = scalars.map(([text], i) => `  v${i}: ${text}\n`).join('')
  const manifest = `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nv:\n${lines}`
  const args = ['label', '--local', '-f', '-', 'x=y', '-o', 'json']
  const { v } = JSON.parse(execFileSync('kubectl', args, { input: manifest, encoding: 'utf8' }))
  for (const [i, [text, value]] of scalars.entries()) t.strictSame(v[`v${i}`], value, text)
})

t.test('several JSON objects, one after another', async t => {
  const cases: [name: string, text: string, outline: [kind: unknown, line: number][]][] = [
    [
      'on lines',
      '{"kind": "A"}\n{"kind": "B",\n"c": "}{"}\n\n{"kind": "C"}\n',
      [
        ['A', 1],
        ['B', 2],
        ['C', 5],
      ],
    ],
    [
      'without a gap',
      '{"kind": "A"}{"kind": "B"}',
      [
        ['A', 1],
        ['B', 1],
      ],
    ],
    [
      'in a document of YAML',
      'kind: A\n--- # JSON\n# two\n{"kind": "B"}\n{"kind": "C"}\n---\nkind: D\n',
      [
        ['A', 1],
        ['B', 4],
        ['C', 5],
        ['D', 7],
      ],
    ],
    [
      'a list among them',
      '{"kind": "A"}\n{"kind": "BList", "items": [\n{}, {"kind": "C"}]}\n',
      [
        ['A', 1],
        ['B', 3],
        ['C', 3],
      ],
    ],
    [
      'flow style of YAML',
      '{kind: A} {kind: B}\n',
      [
        ['A', 1],
        ['B', 1],
      ],
    ],
  ]
  for (const [name, text, expected] of cases) t.same(outline(text), expected, name)
  t.match(fault('{"kind": "A"}\n{"kind": "B",}\n{"kind": "C", "d": *e}\n'), { line: 3, message: /alias/ })
})

t.test('lists in lists', async t => {
  const cases: [name: string, text: string, outline: [kind: unknown, line: number][]][] = [
    [
      'as kubectl prints them',
      'items:\n- kind: AList\n  items:\n  - x: 1\n  - x: 2\n- kind: List\n  items:\n  - kind: B\n  - kind: List\n    items: [{kind: C}]\nkind: List\n',
      [
        ['A', 4],
        ['A', 5],
        ['B', 8],
        ['C', 10],
      ],
    ],
    [
      'indented',
      'kind: List\nitems:\n  - kind: AList\n    items:\n      - x: 1\n\n      - x: 2\n  - kind: B\n',
      [
        ['A', 5],
        ['A', 7],
        ['B', 8],
      ],
    ],
    [
      'in JSON',
      '{"kind": "List", "items": [{"kind": "AList", "items": [\n{},\n{}]}, {"kind": "B"}]}',
      [
        ['A', 2],
        ['A', 3],
        ['B', 3],
      ],
    ],
    ['empty', 'kind: List\nitems:\n- kind: List\n- kind: AList\n  items:\n', []],
  ]
  for (const [name, text, expected] of cases) t.same(outline(text), expected, name)
  const nest = (depth: number) => `${'{"kind": "List", "items": ['.repeat(depth)}{"kind": "A"}${']}'.repeat(depth)}`
  t.same(outline(nest(10)), [['A', 1]])
  t.same(outline(nest(100_000)), [['List', 1]], 'too deep')
})

t.test('a byte order mark before any document', async t => {
  t.same(outline('\ufeffkind: A\n---\n\ufeffkind: B\n\ufeff---\nkind: C\n'), [
    ['A', 1],
    ['B', 3],
    ['C', 5],
  ])
  t.same(outline('\ufeff{"kind": "A"}\n\ufeff{"kind": "B"}\n'), [
    ['A', 1],
    ['B', 2],
  ])
})

t.test('a syntax error is reported with its line', async t => {
  const cases: [name: string, text: string, line: number, message: RegExp][] = [
    ['in the first document', 'kind: A\n b: 1\n', 2, /./],
    ['in a later one', 'kind: A\n---\nkind: B\nb: [1,\n---\nkind: C\n', 5, /indentation/],
    ['in a list', 'kind: List\nitems:\n- kind: A\n- kind: "B\n- kind: C\n', 5, /./],
    ['behind a list', 'items:\n- kind: A\n- kind: B\nkind: List\nb: "\n', 6, /indentation/],
    ['JSON cut off', '{"kind": "A",\n"b": [1, 2', 2, /flow collection/],
    ['tabs', 'kind:\n\t- a\n', 2, /tab/],
    ['an unknown anchor', 'kind: A\nb: *nowhere\n', 2, /unidentified alias/],
    ['binary', 'kind: A\n\u0000\u0001', 2, /./],
  ]
  for (const [name, text, line, message] of cases) {
    const found = fault(text)
    t.equal(found.line, line, `${name}: ${found.message}`)
    t.match(found.message, message, name)
  }
})

t.test('hostile texts are refused or read quickly', async t => {
  const laughs = Array.from(
    { length: 9 },
    (_, i) =>
      `l${i}: &l${i} [${Array(9)
        .fill(i === 0 ? 'ha' : `*l${i - 1}`)
        .join(', ')}]`,
  )
  t.match(fault(`kind: A\n${laughs.join('\n')}\n`).message, /aliases expand/)
  t.match(fault('kind: A\na: &a [*a]\n').message, /aliases expand/, 'a list within itself')
  t.match(fault(`kind: A\na: ${'['.repeat(100_000)}`).message, /maxDepth/)
  t.match(fault('- '.repeat(50_000)).message, /maxDepth/)
  t.match(fault(`{"a": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`).message, /objects/, 'JSON may be deep')
  t.match(fault(`kind: List\nitems: [${'{a: 1}, '.repeat(20_000)}]`).message, /20000 objects/, 'a long line of many')
  const objects = Array(600_000).fill('{}').join()
  t.equal(outline(`{"kind": "List", "items": [${objects}]}`).length, 600_000, 'a longer one')
  t.match(fault(`{a: "${'x'.repeat(200)}\n{a: b}`).message, /./, 'a quote that is not closed')
  const keys = Array.from({ length: 20_000 }, (_, i) => `k${i}: 1`).join('\n')
  t.equal(outline(`kind: A\n${keys}\n`).length, 1)
  t.equal(outline(`kind: A\n${'---\n'.repeat(20_000)}`).length, 1)
})

t.test('values do not keep the text in memory', async t => {
  v8.setFlagsFromString('--expose-gc')
  const collect = vm.runInNewContext('gc') as () => void
  const used = () => {
    collect()
    return process.memoryUsage().heapUsed
  }
  const size = 1_900_000
  const kept: unknown[] = []
  const before = used()
  for (let i = 0; i < 8; i++)
    kept.push(values(parsed(`kind: A\nname: a-name-of-some-length-${i}\n---\n# ${'x'.repeat(size)}\n`)))
  t.ok(used() - before < 2 * size, 'eight texts')
  t.equal(kept.length, 8)
})

t.test('the line of a field', async t => {
  const styles: [name: string, text: string][] = [
    ['a document', 'kind: A\nspec:\n  ports:\n    - port: 1\n    - name: x\n      port: 2\nempty:\n'],
    [
      'a list of kubectl',
      'items:\n- kind: A\n  spec:\n    ports:\n    - port: 1\n    - name: x\n      port: 2\n  empty:\nkind: List\n',
    ],
    [
      'a list',
      'items:\n  - kind: A\n    spec:\n      ports:\n        - port: 1\n        - name: x\n          port: 2\n    empty:\n  - kind: B\nkind: List\n',
    ],
    ['JSON', '{\n"spec": {\n"ports": [\n{"port": 1},\n{"name": "x",\n"port": 2}]},\n"empty": null}'],
    [
      'a list of JSON',
      '{"kind": "List", "items": [{},\n{\n"spec": {\n"ports": [\n{"port": 1},\n{"name": "x",\n"port": 2}]},\n"empty": null}]}',
    ],
  ]
  for (const [name, text] of styles) {
    const object = parsed(text).find(({ value }) => typeof value === 'object' && value !== null && 'spec' in value)
    if (!object) throw new Error(name)
    const lineOf = linesOf(object)
    const lineWith = (field: string) => text.slice(0, text.indexOf(field)).split('\n').length
    t.equal(lineOf([]), object.line, name)
    t.equal(lineOf(['spec', 'ports', 0, 'port']), lineWith('1'), name)
    t.equal(lineOf(['spec', 'ports', 1, 'port']), lineWith('2'), name)
    t.equal(lineOf(['spec', 'ports', 1, 'name']), lineWith('x'), name)
    t.equal(lineOf(['spec', 'ports', 1, 'protocol']), lineWith('x'), `${name}: what is missing is missing in the port`)
    t.equal(lineOf(['empty', 'x']), lineWith('empty'), `${name}: a value left empty stands with its key`)
  }
  const [first, second] = [...parsed('kind: List\nitems: [{kind: A, a: 1}, {kind: B,\n  a: 2}]\n')].map(linesOf)
  t.same([first?.(['a']), second?.(['kind']), second?.(['a'])], [2, 2, 2], 'in flow style as near as can be')
})

t.test('a large JSON list is parsed object by object, as the whole would be', async t => {
  const items = Array.from({ length: 3000 }, (_, i) => ({
    kind: i % 2 === 0 ? 'Service' : 'Namespace',
    metadata: { name: `s${i}`, annotations: { text: 'é"}]\\\n"items":['.repeat(10) } },
  }))
  for (const indent of [0, 2]) {
    for (const list of [
      { kind: 'List', items },
      { items, kind: 'List' },
      { kind: 'ServiceList', items },
    ]) {
      const text = JSON.stringify(list, undefined, indent)
      const found = parsed(text)
      t.strictSame(values(found), items)
      const at = text.indexOf('"s2999"')
      const line = text.slice(0, text.lastIndexOf('{', text.lastIndexOf('"metadata"', at) - 1)).split('\n').length
      t.equal(found.at(-1)?.line, line)
      t.strictSame(JSON.parse(found.at(-1)?.text ?? ''), items.at(-1))
    }
  }
  const list = JSON.stringify({ kind: 'List', items })
  const single = { kind: 'Namespace', metadata: { name: 'é' } }
  t.strictSame(values(parsed(`${list}\n${list}`)), [...items, ...items], 'lists that follow each other')
  t.strictSame(values(parsed(`${list}\n${JSON.stringify(single)}`)), [...items, single])
  const broken = JSON.stringify({ kind: 'List', items }, undefined, 2).replace('"s2000"', '"s2000",,')
  t.match(fault(broken), { message: /JSON/ })
  t.ok(fault(broken).line > 10_000)
})

t.test('a large text is parsed object by object, whatever its form, so that the caller may pause', async t => {
  const member = (i: number) => `apiVersion: v1\nkind: A\nmetadata:\n  name: a${i}\n  note: |\n    - x\n`
  const listed = (indent: string) => {
    const items = Array.from({ length: 1500 }, (_, i) => {
      return `${indent}- ${member(i).trimEnd().replaceAll('\n', `\n  ${indent}`)}\n`
    })
    return `kind: List\nitems:\n# a comment\n\n${items.join('')}${indent}- "not closed\n`
  }
  const json = (kind: string) => {
    const items = Array.from({ length: 1500 }, (_, i) =>
      JSON.stringify({ metadata: { name: `a${i}`, pad: 'x'.repeat(300) } }),
    )
    return `{"kind":"${kind}","apiVersion":"v1","items":[${items.join()},{"kind": nonsense}]}`
  }
  const texts = {
    documents: `${Array.from({ length: 1500 }, (_, i) => member(i)).join('---\n')}---\n"not closed\n`,
    'a list of kubectl': listed(''),
    'an indented list': listed('    '),
    'a list of the API': json('AList'),
  }
  for (const [name, text] of Object.entries(texts)) {
    const kinds: unknown[] = []
    t.throws(() => {
      for (const raw of parseManifest(text)) if (raw) kinds.push((raw.value as { kind: unknown }).kind)
    }, name)
    t.equal(kinds.filter(kind => kind === 'A').length, 1500, `${name}: all before the fault`)
  }
})

t.test('an object that no API server would take is not parsed', async t => {
  const text = `kind: A\nitems:\n${'- a\n'.repeat(600_000)}`
  t.match(fault(text), { line: 1, message: /a document of 2400015 characters is not parsed/ })
  t.match(fault(JSON.stringify({ kind: 'A', items: Array(600_000).fill('abc') })), {
    line: 1,
    message: /is not parsed/,
  })
})
