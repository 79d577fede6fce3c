/** Mutations of fuzz inputs: of bytes, of words of a format, and of the values in JSON. */
import type { Dice } from './random.ts'

/** Changes some bytes: flipped, replaced, cut, doubled, replaced by a word of the format or by a piece of another input. */
export function mutateBytes(input: Buffer, pool: readonly Buffer[], words: readonly string[], dice: Dice): Buffer {
  let bytes: Buffer = Buffer.from(input)
  for (let changes = 1 + dice.below(5); changes > 0; changes--) bytes = changeBytes(bytes, pool, words, dice)
  return dice.below(30) === 0 ? repeated(bytes, words, dice) : bytes
}

/** A piece or a word many times over: what takes more than linear time shows. */
function repeated(bytes: Buffer, words: readonly string[], dice: Dice): Buffer {
  const at = dice.below(bytes.length + 1)
  const to = Math.min(bytes.length, at + 1 + dice.below(40))
  const piece = dice.below(2) === 0 ? bytes.subarray(at, to) : Buffer.from(dice.any(words))
  const many = piece.length > 0 ? Buffer.alloc(mostRepeated, piece) : piece
  return Buffer.concat([bytes.subarray(0, at), many, bytes.subarray(to)])
}

const mostRepeated = 32 << 10

function changeBytes(bytes: Buffer, pool: readonly Buffer[], words: readonly string[], dice: Dice): Buffer {
  const at = dice.below(bytes.length + 1)
  const to = Math.min(bytes.length, at + dice.below(Math.max(1, Math.min(200, bytes.length - at + 1))))
  switch (dice.below(7)) {
    case 0:
      if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.below(8))
      return bytes
    case 1:
      if (at < bytes.length) bytes[at] = dice.any([0, 9, 10, 32, 34, 92, 127, 128, 192, 255])
      return bytes
    case 2:
      return Buffer.concat([bytes.subarray(0, at), Buffer.from(dice.any(words)), bytes.subarray(to)])
    case 3:
      return bytes.subarray(0, at)
    case 4:
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)])
    case 5:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)])
    default: {
      const other = dice.any(pool)
      const from = dice.below(other.length + 1)
      return Buffer.concat([bytes.subarray(0, at), other.subarray(from, from + dice.below(500)), bytes.subarray(to)])
    }
  }
}

const hostileTexts = [
  '',
  ' ',
  '\u0000',
  '\u001b[2J',
  '\u202e',
  '__proto__',
  'constructor',
  'toString',
  '../../etc/passwd',
  'a'.repeat(64),
  'a.'.repeat(200),
  '169.254.169.254',
  '::ffff:169.254.169.254',
  '::ffff:a9fe:a9fe',
  '0.0.0.0',
  '::',
  '::1',
  '127.0.0.1',
  '2130706433',
  '0x7f.1',
  'fe80::1%eth0',
  'ff02::1',
  '255.255.255.255',
  '10.0.0.01',
  '64:ff9b::7f00:1',
  '10.0.0.0/8',
  '::/0',
  '65536',
  '-0',
  '1e400',
  'NaN',
  '%2f',
  '\ud800',
]
const hostileValues: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  65_536,
  2 ** 53,
  1e308,
  [],
  {},
  [[]],
  [null],
  { '': null },
  JSON.parse('{"__proto__": {"x": 1}}'),
]

/** A tree that holds itself several times would grow without end. */
const mostJson = 8 << 10

/** Changes some values of a JSON tree; the result is JSON. Undefined where the input is none, or large. */
export function mutateJson(input: Buffer, pool: readonly Buffer[], dice: Dice): Buffer | undefined {
  const root = input.length > mostJson ? undefined : parsed(input)
  if (typeof root !== 'object' || root === null) return undefined
  const piece = dice.any(pool)
  const other = piece.length > mostJson ? undefined : parsed(piece)
  for (let changes = 1 + dice.below(4); changes > 0; changes--) {
    const { holder, key } = place(root, dice)
    if (key !== undefined) change(holder, key, other, dice)
  }
  return Buffer.from(JSON.stringify(root))
}

type Holder = Record<string, unknown>

function change(holder: Holder, key: string, other: unknown, dice: Dice): void {
  const value = holder[key]
  switch (dice.below(6)) {
    case 0:
      delete holder[key]
      return
    case 1:
      set(holder, key, dice.any(hostileValues))
      return
    case 2:
      set(holder, key, Array.isArray(value) ? [...value, ...value] : [value, value])
      return
    case 3: {
      const found = typeof other === 'object' && other !== null ? place(other, dice) : undefined
      set(holder, key, found?.key === undefined ? other : found.holder[found.key])
      return
    }
    case 4:
      // A key that a table of JavaScript may already have.
      if (!Array.isArray(holder)) set(holder, dice.any(hostileTexts), value)
      return
    default:
      set(holder, key, dice.any(hostileTexts))
  }
}

/** Defined, so that `__proto__` becomes a key as JSON.parse makes it. The value is a copy: no tree may contain itself. */
function set(holder: Holder, key: string, value: unknown): void {
  const copy = value === undefined ? null : structuredClone(value)
  Object.defineProperty(holder, key, { value: copy, enumerable: true, configurable: true, writable: true })
}

/** A random place in a tree. */
function place(root: object, dice: Dice): { holder: Holder; key: string | undefined } {
  let holder = root as Holder
  for (;;) {
    const keys = Object.keys(holder)
    const key = keys.length > 0 ? dice.any(keys) : undefined
    const value = key === undefined ? undefined : holder[key]
    if (typeof value !== 'object' || value === null || dice.below(4) === 0) return { holder, key }
    if (Object.keys(value).length === 0) return { holder, key }
    holder = value as Holder
  }
}

function parsed(input: Buffer): unknown {
  try {
    return JSON.parse(input.toString('utf8'))
  } catch {
    return undefined
  }
}
