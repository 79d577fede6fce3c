/**
 * The scalars of YAML as kubectl reads them. It parses with sigs.k8s.io/yaml, a mixture of YAML 1.1 and 1.2: `yes` and `on` are
 * booleans, `010` and `0o10` are octal, `1_000` is a number, but `1:20` and a date are texts.
 */
import {
  CORE_SCHEMA,
  defineMappingTag,
  defineScalarTag,
  defineSequenceTag,
  mapTag,
  mergeTag,
  NOT_RESOLVED,
  seqTag,
} from 'js-yaml'

/** Also with a capital, or all in capitals; no other mixture. */
const words: readonly [word: string, means: boolean][] = [
  ['y', true],
  ['yes', true],
  ['on', true],
  ['true', true],
  ['n', false],
  ['no', false],
  ['off', false],
  ['false', false],
]
const booleans = new Map(
  words.flatMap(([word, means]) =>
    [word, `${word[0]?.toUpperCase()}${word.slice(1)}`, word.toUpperCase()].map(form => [form, means] as const),
  ),
)

const boolean = defineScalarTag<boolean>('tag:yaml.org,2002:bool', {
  implicit: true,
  implicitFirstChars: [...'yYnNtTfFoO'],
  resolve: source => booleans.get(source) ?? NOT_RESOLVED,
  identify: value => typeof value === 'boolean',
})

const radixes: readonly [pattern: RegExp, radix: number][] = [
  [/^[-+]?0[xX]([0-9a-fA-F]+)$/, 16],
  [/^[-+]?0b([01]+)$/, 2],
  [/^[-+]?0[oO]?([0-7]+)$/, 8],
  [/^[-+]?([0-9]+)$/, 10],
]

/** Underscores after the first digit are ignored. A leading zero is octal if all digits are; `08` is eight. */
function readInteger(source: string): number | undefined {
  const plain = plainOf(source)
  for (const [pattern, radix] of radixes) {
    const digits = pattern.exec(plain)?.[1]
    if (digits === undefined) continue
    const value = Number.parseInt(digits, radix)
    return value === 0 || !plain.startsWith('-') ? value : -value
  }
  return undefined
}

function plainOf(source: string): string {
  return source.replaceAll('_', '')
}

const startsLikeNumber = /^[-+]?(?:[0-9]|\.[0-9])/
const decimal = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/
const special = new Map<string, number>(
  ['inf', 'Inf', 'INF'].flatMap(word => [
    [`.${word}`, Number.POSITIVE_INFINITY] as const,
    [`+.${word}`, Number.POSITIVE_INFINITY] as const,
    [`-.${word}`, Number.NEGATIVE_INFINITY] as const,
  ]),
)
for (const word of ['.nan', '.NaN', '.NAN']) special.set(word, Number.NaN)

const integer = defineScalarTag<number>('tag:yaml.org,2002:int', {
  implicit: true,
  implicitFirstChars: [...'-+0123456789'],
  resolve: source => (startsLikeNumber.test(source) ? (readInteger(source) ?? NOT_RESOLVED) : NOT_RESOLVED),
  identify: value => Number.isInteger(value),
})

const float = defineScalarTag<number>('tag:yaml.org,2002:float', {
  implicit: true,
  implicitFirstChars: [...'-+.0123456789'],
  resolve: source => {
    const known = special.get(source)
    if (known !== undefined) return known
    const plain = plainOf(source)
    return startsLikeNumber.test(source) && decimal.test(plain) ? Number(plain) : NOT_RESOLVED
  },
  identify: value => typeof value === 'number' && !Number.isInteger(value),
})

/**
 * Copies each string: a substring would keep the whole file in memory, and one unchanged service would keep every version of
 * an edited file.
 */
function copyOf(source: string): string {
  return ` ${source}`.slice(1)
}

const text = defineScalarTag('tag:yaml.org,2002:str', {
  resolve: copyOf,
  identify: value => typeof value === 'string',
})

const binary = defineScalarTag('tag:yaml.org,2002:binary', {
  resolve: source => Buffer.from(source.replace(/\s/g, ''), 'base64').toString('utf8'),
  identify: () => false,
})

/** Tags that nobody knows, such as `!vault`, are ignored: a scalar is a text. */
const unknownTags = ['!', 'tag:', ''].flatMap(prefix => [
  defineScalarTag(prefix, { matchByTagPrefix: true, resolve: copyOf, identify: () => false }),
  defineMappingTag(prefix, {
    matchByTagPrefix: true,
    create: mapTag.create,
    addPair: mapTag.addPair,
    has: mapTag.has,
    keys: mapTag.keys,
    get: mapTag.get,
    identify: () => false,
  }),
  defineSequenceTag(prefix, {
    matchByTagPrefix: true,
    create: seqTag.create,
    addItem: seqTag.addItem,
    identify: () => false,
  }),
])

export const kubectlSchema = CORE_SCHEMA.withTags(boolean, integer, float, mergeTag, text, binary, ...unknownTags)
