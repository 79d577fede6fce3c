/** The fields of the configuration, one by one. */
import fc from 'fast-check'
import t from 'tap'
import {
  boolean,
  checked,
  cidr,
  describe,
  didYouMean,
  duration,
  endpoint,
  type Fault,
  type Field,
  integer,
  list,
  oneOf,
  optional,
  type Path,
  parseFields,
  parseValidFields,
  pathText,
  percent,
  record,
  shown,
  table,
  text,
} from '../../../proxy/config/fields.ts'
import { durationText, parseDuration } from '../../../proxy/model/text/duration.ts'

/** The value, or the faults as `path: message`. */
function parse(field: Field<unknown>, value: unknown, path: Path = ['x']): unknown {
  const faults: Fault[] = []
  const parsed = field.parse(value, path, fault => faults.push(fault))
  return faults.length === 0 ? parsed : faults.map(({ path, message }) => `${pathText(path)}: ${message}`)
}

t.test('durations', async t => {
  const field = duration('', '5s')
  const good: [unknown, number][] = [
    [0, 0],
    ['0', 0],
    ['0s', 0],
    ['500ms', 500],
    ['5s', 5000],
    ['1.5s', 1500],
    ['10m', 600_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['1.1s', 1100],
  ]
  for (const [written, ms] of good) t.equal(parse(field, written), ms, String(written))

  t.same(parse(field, 30), ['x: 30 has no unit; write 30s or 30ms'])
  t.same(parse(field, '30'), ['x: "30" has no unit; write 30s or 30ms'])
  t.same(parse(field, '0.4ms'), ['x: "0.4ms" is less than 1ms, the resolution of timers'])
  t.same(parse(field, '25d'), ['x: "25d" is longer than 24 days, the maximum of timers'])
  for (const wrong of [
    '',
    's',
    '5 s',
    '-5s',
    '5S',
    '5sec',
    '1e3s',
    'five',
    true,
    null,
    [],
    {},
    -5,
    '9'.repeat(50_000),
  ]) {
    t.match(parse(field, wrong), [/is not a duration; write 500ms, 5s, 10m or 1h$/], shown(wrong))
  }

  const ranged = duration('', '5s', { min: 100, max: 60_000 })
  t.equal(parse(ranged, '100ms'), 100)
  t.equal(parse(ranged, '1m'), 60_000)
  t.same(parse(ranged, '99ms'), ['x: "99ms" is too short; the minimum is 100ms'])
  t.same(parse(ranged, '61s'), ['x: "61s" is too long; the maximum is 1m'])
})

t.test('a duration can be written and read back', async t => {
  const survives = fc.property(fc.integer({ min: 0, max: 2 ** 31 - 1 }), ms => parseDuration(durationText(ms)) === ms)
  t.doesNotThrow(() => fc.assert(survives))
})

t.test('scalars', async t => {
  const number = integer('', { min: 1, max: 255 })
  t.equal(parse(number, 255), 255)
  t.equal(parse(number, '7'), 7, 'as a quoted variable gives it')
  for (const wrong of [0, 256, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '', ' 7', '0x7', '1e1', true, null]) {
    t.same(parse(number, wrong), [`x: ${shown(wrong)} is not a whole number from 1 to 255`])
  }

  t.equal(parse(boolean(''), true), true)
  t.equal(parse(boolean(''), 'false'), false)
  for (const wrong of ['yes', 'True', 1, 0, null])
    t.same(parse(boolean(''), wrong), [`x: ${shown(wrong)} is neither true nor false`])

  t.equal(parse(percent(''), '0%'), 0)
  t.equal(parse(percent(''), '12.5%'), 0.125)
  t.equal(parse(percent(''), '100%'), 1)
  for (const wrong of ['101%', '-1%', '50', 50, '%'])
    t.match(parse(percent(''), wrong), [/is not a percentage; write 0% to 100%/])

  t.equal(parse(text(''), 'blue'), 'blue')
  t.same(parse(text(''), ''), ['x: "" is not a string'])
  t.same(parse(text(''), 7), ['x: 7 is not a string; write "7"'])

  const mode = oneOf('', ['local', 'remote', 'none'])
  t.equal(parse(mode, 'remote'), 'remote')
  t.same(parse(mode, 'remot'), ['x: "remot" is not one of local, remote, none; did you mean "remote"?'])
  t.same(parse(mode, { toString: 1 }), ['x: a mapping is not one of local, remote, none'])

  t.match(parse(cidr(''), '10.0.0.0/8'), { text: '10.0.0.0/8', family: 4, bits: 8 })
  t.match(parse(cidr(''), '10.0.0.1/8'), [/"10.0.0.1\/8" is not a CIDR; write 10.0.0.0\/8/])
  t.same(parse(endpoint(''), '[::1]:9911'), { address: '::1', port: 9911 })
  for (const wrong of ['localhost:80', '127.0.0.1', 80, null]) {
    t.match(parse(endpoint(''), wrong), [/is not an address and port; write 127.0.0.1:9911/])
  }
  t.match(parse(endpoint(''), '127.0.0.1:65536'), [/has port 65536; the highest is 65535/])
})

t.test('lists and mappings', async t => {
  const numbers = list('', integer('', { min: 0, max: 9 }))
  t.same(parse(numbers, [1, 2]), [1, 2])
  t.same(parse(numbers, []), [])
  t.same(parse(numbers, 3), [3], 'one alone')
  t.same(parse(numbers, [1, 10, null, 'x']), [
    'x[1]: 10 is not a whole number from 0 to 9',
    'x[2]: is empty; give an integer 0..9',
    'x[3]: "x" is not a whole number from 0 to 9',
  ])
  t.same(parse(numbers, null), ['x: is empty; write [] for an empty list'])

  const shares = record('', integer('', { min: 0, max: 9 }))
  t.same(parse(shares, { a: 1, b: 2 }), { a: 1, b: 2 })
  t.same(parse(shares, { 'a b': 10 }), ['x["a b"]: 10 is not a whole number from 0 to 9'])
  t.same(parse(shares, [1]), ['x: a list is not a mapping'])
  const odd = parse(shares, JSON.parse('{"__proto__": 1}')) as object
  t.ok(Object.hasOwn(odd, '__proto__'), 'a name like any other')
})

const fields = {
  rest: duration('How long.', '30s'),
  share: optional(percent('How much.')),
  inner: table('More.', { must: text('Given by the user.'), list: list('Words.', text('A word.'), ['a']) }),
}

t.test('a table', async t => {
  const { faults, report } = collect()
  t.same(parseFields(fields, { inner: { must: 'x' } }, [], report), {
    rest: 30_000,
    share: undefined,
    inner: { must: 'x', list: ['a'] },
  })
  t.same(parseFields(fields, { share: null, inner: { must: 'x' } }, [], report)?.share, undefined, 'empty is absent')
  t.same(faults, [])

  t.equal(parseFields(fields, { rest: 30, shere: '5%', inner: null }, ['plugins', 2, 'options'], report), undefined)
  t.same(faults, [
    'plugins[2].options.shere: is not a known key; did you mean "share"? (known keys: rest, share, inner)',
    'plugins[2].options.rest: 30 has no unit; write 30s or 30ms',
    'plugins[2].options.inner.must: is missing; give a string',
  ])
})

t.test('the valid fields of a faulty table are returned', async t => {
  const { faults, report } = collect()
  t.same(parseValidFields(fields, { rest: '1s', share: 5, constructor: 1 }, [], report), {
    rest: 1000,
    share: undefined,
    inner: undefined,
  })
  t.match(faults, [/^constructor: is not a known key/, /^share: /, /^inner\.must: is missing/])
  t.same(parseValidFields(fields, 'text', ['x'], report), {})
  t.equal(faults.at(-1), 'x: "text" is not a mapping of options (rest, share, inner)')
})

t.test('an added rule', async t => {
  const even = checked(integer('', { min: 0, max: 9 }), n => (n % 2 === 0 ? undefined : `${n} is odd`))
  t.equal(parse(even, 4), 4)
  t.same(parse(even, 3), ['x: 3 is odd'])
  t.match(parse(even, 30), ['x: 30 is not a whole number from 0 to 9'], 'is not asked about values of the wrong type')
})

t.test('the reference shows every field by its key', async t => {
  const all = { outer: list('All.', table('One.', fields)), names: record('', table('', { a: boolean('A.', false) })) }
  t.same(
    describe(all).map(({ key, type, fallback }) => [key, type, fallback]),
    [
      ['outer', 'list of mappings', 'required'],
      ['outer[].rest', 'duration', '30s'],
      ['outer[].share', 'percent', ''],
      ['outer[].inner', 'mapping', ''],
      ['outer[].inner.must', 'string', 'required'],
      ['outer[].inner.list', 'list of string', '["a"]'],
      ['names', 'mapping to mapping', 'required'],
      ['names.*.a', 'true | false', 'false'],
    ],
  )
})

t.test('words of messages', async t => {
  t.equal(pathText(['plugins', 2, 'options', 'rest']), 'plugins[2].options.rest')
  t.equal(pathText(['a b', 0, 'starlane.dev/affinity']), '["a b"][0]["starlane.dev/affinity"]')
  t.equal(shown('a\nb\u009b31m\u202e'), '"a\\nb\\u{9b}31m\\u{202e}"')
  t.equal(shown('x'.repeat(100)), `"${'x'.repeat(60)}…"`)
  t.equal(didYouMean('Remote', ['local', 'remote']), '; did you mean "remote"?')
  t.equal(didYouMean('else', ['local', 'remote']), '')
  t.equal(didYouMean('x'.repeat(1000), ['x'.repeat(999)]), '')
})

function collect() {
  const faults: string[] = []
  return { faults, report: ({ path, message }: Fault) => faults.push(`${pathText(path)}: ${message}`) }
}
