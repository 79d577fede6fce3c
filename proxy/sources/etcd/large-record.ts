/** Takes a large JSON record apart, so that no piece of it takes long to parse: a service with 10,000 backends is one value. */
import { fault, parseText } from '../../clients/etcd/record.ts'
import { backslash, close, colon, comma, open, quote } from '../../model/text/json-bytes.ts'

/** Mappings and lists that are longer are cut. */
const pieceBytes = 16 << 10
/** How much is looked through between two pauses. */
const stepBytes = 64 << 10

export interface LargeRecord {
  /** The record, with `{}` in the place of each long mapping. A long list is `[]`: no record has any, so nobody parses it. */
  readonly rest: unknown
  /** The members that are left out there: where the entries of the mapping begin, where they are cut, and where they end. */
  readonly cuts: ReadonlyMap<string, readonly number[]>
  readonly value: Uint8Array
}

/** Pauses by `yield`; a record that is no longer than a piece is parsed at once. Throws for what is not JSON, as {@link tables} does. */
export function* takeApart(value: Uint8Array): Generator<undefined, LargeRecord> {
  const cuts = new Map<string, readonly number[]>()
  if (value.length <= pieceBytes) return { rest: parseText(value), cuts, value }
  const rest: Uint8Array[] = []
  /** The end of what is in `rest`, or left out of it. */
  let done = 0
  let depth = 0
  /** The latest string at depth 1, and the member that it names. */
  let string: readonly [start: number, end: number] = [0, 0]
  let member = ''
  /** Of the mapping or list at depth 1. */
  let places: number[] = []
  let paused = 0
  for (let at = 0; at < value.length; at++) {
    const byte = value[at]
    if (byte === quote) {
      const start = at
      for (at++; at < value.length && value[at] !== quote; at++) if (value[at] === backslash) at++
      if (depth === 1) string = [start, at + 1]
    } else if (byte === open.brace || byte === open.bracket) {
      if (++depth === 2) places = [at]
    } else if (byte === close.brace || byte === close.bracket) {
      const start = places[0] ?? at
      if (--depth !== 1 || at - start < pieceBytes) continue
      const isMapping = value[start] === open.brace
      if (isMapping) cuts.set(member, [...places, at])
      rest.push(value.subarray(done, start), isMapping ? emptyMapping : emptyList)
      done = at + 1
    } else if (byte === colon && depth === 1) {
      member = String(parseText(value.subarray(...string)))
      // As in JSON.parse, the last of those with one name counts.
      cuts.delete(member)
    } else if (byte === comma && depth === 2 && at - (places.at(-1) ?? at) >= pieceBytes) {
      places.push(at)
    }
    if (at - paused >= stepBytes) {
      paused = at
      yield undefined
    }
  }
  rest.push(value.subarray(done))
  return { rest: parseText(Buffer.concat(rest)), cuts, value }
}

const emptyMapping = Buffer.from('{}')
const emptyList = Buffer.from('[]')

/** The entries of a member that was left out, as mappings that follow each other. */
export function* tables({ cuts, value }: LargeRecord, member: string): Generator<object> {
  let start: number | undefined
  for (const end of cuts.get(member) ?? []) {
    if (start !== undefined) {
      const piece = Buffer.from(value.subarray(start, end + 1))
      piece[0] = open.brace
      piece[piece.length - 1] = close.brace
      const table = parseText(piece) as object
      // Between two commas, or after the last one.
      if (Object.keys(table).length === 0) throw fault(`is not JSON: no entry at byte ${end}`)
      yield table
    }
    start = end
  }
}
