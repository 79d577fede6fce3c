/**
 * The memory that C++ and TypeScript share: both sides have the same names, numbers and offsets. Reads the headers, so that a
 * change of one side alone fails here.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import ts from 'typescript'
import { protocol } from '../../../../proxy/dataplane/native/addon.ts'
import { at, Command, Event, field, Reason, records, wordsOfRecord } from '../../../../proxy/dataplane/native/rings.ts'
import { layout } from '../../../../proxy/dns/server/udp-batch.ts'
import { type Header, readHeader, type Struct } from '../../../support/header.ts'

const wordBytes = 4
const ring = read('native/src/pump/ring.h')
const batch = read('native/src/batch/batch.h')

t.test('the rings of the pump', async t => {
  const { constants, enums, structs } = readHeader(ring)
  t.same(constants, { kProtocol: protocol, kRecords: records })
  t.same(camelCased(enums), { Event, Command, Reason })
  t.same(Object.keys(structs).sort(), ['Line', 'Record', 'Shared'])
  t.equal(structs.Record?.size, wordsOfRecord * wordBytes)
  t.same(words(structs.Record, ['unused', 'rest']), field)
  t.same(structs.Line?.fields.value, 0, 'a counter is the first word of its line')
  t.same(words(structs.Shared, []), at)
  t.equal(structs.Shared?.size, (at.commands + records * wordsOfRecord) * wordBytes)
})

t.test('the memory of a batch socket', async t => {
  const { constants, structs } = readHeader(batch)
  const { question, answer } = layout
  t.same(constants, { kBatch: layout.batch, kQuestion: question.bytes, kAnswer: answer.bytes })
  t.same(Object.keys(structs).sort(), ['Batch', 'Peer'])
  t.equal(layout.wordBytes, wordBytes)
  t.equal(structs.Peer?.size, layout.peerBytes)
  t.same(words(structs.Peer, ['unused']), layout.peer)
  t.same(structs.Batch?.fields, layout.at)
  t.equal(strideOf('questions'), question.stride)
  t.equal(strideOf('answers'), answer.stride)

  /** Of an array of arrays; its rows are given as `[kBatch][stride]`. */
  function strideOf(name: string): number {
    const [start = 0, end = structs.Batch?.size ?? 0] = Object.values(structs.Batch?.fields ?? {})
      .filter(offset => offset >= (structs.Batch?.fields[name] ?? 0))
      .sort((a, b) => a - b)
    return (end - start) / layout.batch
  }
})

t.test('the classes of the addon', async t => {
  t.same(methodsOf(read('native/src/node/pump-binding.cc')), membersOf('proxy/dataplane/native/addon.ts', 'NativePump'))
  t.same(
    methodsOf(read('native/src/node/batch-binding.cc')),
    membersOf('proxy/model/sockets/batch-socket.ts', 'BatchSocket'),
  )
})

t.test('a change of any number or name in a header is seen', async t => {
  for (const text of [ring, batch]) {
    const header = readHeader(text)
    const declarations = text.slice(0, text.search(/^inline |^class /m))
    const tokens = [...declarations.matchAll(/\/\/.*$|static_assert.*$|#.*$|\b(?<token>\d+|[A-Za-z]\w*)\b/gm)]
    const keywords = /^(constexpr|enum|class|struct|union|namespace|starlane|size_t|int)$/
    // Padding is seen by its size.
    const padding = /^(unused|rest|padding|totals|idle)$/
    for (const { index, groups } of tokens) {
      const token = groups?.token
      if (token === undefined || keywords.test(token) || padding.test(token)) continue
      const changed = /^\d+$/.test(token) ? String(Number(token) + 1) : `${token}x`
      const mutant = text.slice(0, index) + changed + text.slice(index + token.length)
      t.notSame(parsed(mutant), header, `${token} at ${index}`)
    }
  }
})

function read(file: string): string {
  return readFileSync(file, 'utf8')
}

function parsed(text: string): Header | Error {
  try {
    return readHeader(text)
  } catch (error) {
    return error as Error
  }
}

function camelCased(enums: Header['enums']): Header['enums'] {
  const lower = (name: string) => name.charAt(0).toLowerCase() + name.slice(1)
  return Object.fromEntries(
    Object.entries(enums).map(([name, members]) => [
      name,
      Object.fromEntries(Object.entries(members).map(([member, value]) => [lower(member), value])),
    ]),
  )
}

/** Offsets in words, without padding. */
function words(struct: Struct | undefined, padding: readonly string[]): Record<string, number> {
  return Object.fromEntries(
    Object.entries(struct?.fields ?? {})
      .filter(([name]) => !padding.includes(name))
      .map(([name, offset]) => [name, offset / wordBytes]),
  )
}

/** Methods and the number of their arguments, and `memory`. */
function methodsOf(binding: string): Record<string, number> {
  const methods = [...binding.matchAll(/method\("(\w+)", (\w+)\)/g)].map(([, name = '', callback = '']) => {
    const count = new RegExp(`^napi_value ${callback}\\(.*\\{\\n {2}size_t count = (\\d+)`, 'm').exec(binding)?.[1]
    return [name, Number(count)] as const
  })
  const properties = [...binding.matchAll(/set_named_property\(env, self, "(\w+)"/g)]
  return Object.fromEntries([...methods, ...properties.map(([, name = '']) => [name, -1] as const)])
}

/** The same of an interface in TypeScript; -1 for a property. */
function membersOf(file: string, name: string): Record<string, number> {
  const source = ts.createSourceFile(file, read(file), ts.ScriptTarget.Latest)
  const found = source.statements.find(node => ts.isInterfaceDeclaration(node) && node.name.text === name)
  if (!found || !ts.isInterfaceDeclaration(found)) throw new Error(`${file} has no ${name}`)
  return Object.fromEntries(
    found.members.map(member => [
      member.name?.getText(source),
      ts.isMethodSignature(member) ? member.parameters.length : -1,
    ]),
  )
}
