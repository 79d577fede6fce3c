/** The decoders that the fuzzer feeds, each with its rules. */
import { zstdCompressSync } from 'node:zlib'
import { decodeClusterConfig } from '../../proxy/clients/etcd/cluster-config.ts'
import { LineSplitter } from '../../proxy/clients/kubernetes/lines.ts'
import { ListScanner } from '../../proxy/clients/kubernetes/list-scanner.ts'
import { asObject, keyOf, readEvent, readObject, readPage } from '../../proxy/clients/kubernetes/wire.ts'
import { ConfigError } from '../../proxy/config/error.ts'
import { parseConfig } from '../../proxy/config/load.ts'
import { MeshError } from '../../proxy/model/error.ts'
import { decodeKubernetes } from '../../proxy/sources/decode/decode.ts'
import { decodeNode, decodeServiceExport } from '../../proxy/sources/etcd/decode-cilium.ts'
import { decodeAddress, decodeIdentity } from '../../proxy/sources/etcd/decode-identities.ts'
import { decodeService } from '../../proxy/sources/etcd/decode-service.ts'
import { decodeSlice } from '../../proxy/sources/etcd/decode-slices.ts'
import { parseManifest } from '../../proxy/sources/manifests/parse.ts'
import { linesOf, SyntaxFault } from '../../proxy/sources/manifests/raw-object.ts'
import type { ClusterObject } from '../../proxy/sources/objects.ts'
import { checkClaims, fail, mustBeTame } from './claims.ts'

export interface Target {
  readonly name: string
  /** Words of its format, which mutations insert. */
  readonly words: readonly string[]
  /** How long one input may take, in milliseconds of CPU time. */
  readonly slowMs: number
  /** Throws when a rule is broken, else returns a short description of how the input was handled. */
  handle(input: Buffer): string
}

const owner = { cluster: 'east', clusterId: 7 }
const jsonWords = [
  'null',
  '{}',
  '[]',
  '"',
  '{"',
  '":',
  ',',
  '1e999',
  '-',
  '\\u0000',
  '\\ud800',
  '[[[[[[[[',
  '"__proto__":',
]
const yamlWords = [
  '---\n',
  '...\n',
  '&a ',
  '*a',
  '<<: ',
  '!!binary ',
  '!x ',
  '? ',
  ': ',
  '- ',
  '|\n',
  '>-\n',
  '{{ x }}',
]
const moreYaml = ['\t', '\ufeff', '%YAML 1.1\n', "'", '# ', '0o17', '~', '[', '}', '\r', '\n', '\n  ', 'items:\n- ']

const configWords = ['$', '{HOME}', '1s', '~/x']
/** Of at most 64 KiB. */
const slowMs = 250

export const targets: readonly Target[] = [
  etcd('etcd-services', input => finished(decodeService('shop/cart', input, owner))),
  etcd('etcd-nodes', input => [decodeNode('n1', input, owner)]),
  etcd('etcd-exports', input => [decodeServiceExport('shop/cart', input, owner)]),
  etcd('etcd-addresses', input => decodeAddress('10.11.3.21', input, owner)),
  etcd('etcd-identities', input => [decodeIdentity('458753', input, owner)]),
  // The corpus has the message without its compression: changed bytes of a frame are seldom a frame.
  etcd('etcd-slices', input => [decodeSlice('shop/cart-x7k2p', zstdCompressSync(input), owner)]),
  etcd('etcd-frames', input => [decodeSlice('shop/cart-x7k2p', input, owner)]),
  etcd('etcd-configs', input => {
    const { id, maxConnectedClusters } = decodeClusterConfig(input)
    if (!Number.isInteger(id) || id < 1 || id > 511) fail(`lets the id ${id} through`)
    if (![255, 511].includes(maxConnectedClusters)) fail(`lets ${maxConnectedClusters} clusters through`)
    return []
  }),
  { name: 'manifests', words: [...yamlWords, ...moreYaml, ...jsonWords], slowMs, handle: handleManifest },
  { name: 'watches', words: ['\n', '\r\n', '\n\n', ...jsonWords], slowMs, handle: handleWatch },
  { name: 'lists', words: ['"items":[', ']', '{"metadata":{}}', ...jsonWords], slowMs, handle: handleList },
  // The library takes 0.1 ms for each error that it finds; only the operator writes this file.
  { name: 'configurations', words: [...configWords, ...yamlWords, ...moreYaml], slowMs: 5000, handle: handleConfig },
]

function finished<T>(steps: Generator<unknown, T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

function etcd(name: string, decode: (input: Buffer) => readonly ClusterObject[]): Target {
  return {
    name,
    words: jsonWords,
    slowMs,
    handle: input => {
      const objects = allowing(MeshError, () => decode(input))
      return typeof objects === 'string' ? objects : checkClaims(objects)
    },
  }
}

function handleManifest(input: Buffer): string {
  const text = input.toString('utf8')
  const objects: ClusterObject[] = []
  const lines = text.split('\n').length
  const ended = allowing(SyntaxFault, () => {
    for (const raw of parseManifest(text)) {
      if (!raw) continue
      const { object, faults, subject } = decodeKubernetes(raw.value, { workloads: true })
      if (object) objects.push(object)
      const lineOf = faults.length > 0 ? linesOf(raw) : () => raw.line
      for (const { path, message } of faults) {
        mustBeTame(message)
        const line = lineOf(path)
        if (!(line >= 1 && line <= lines + 1)) fail(`says line ${line} of ${lines}`)
      }
      mustBeTame(subject)
    }
    return []
  })
  return `${typeof ended === 'string' ? ended : 'read'}: ${checkClaims(objects)}`
}

/** Lines are the same wherever the chunks end. */
function handleWatch(input: Buffer): string {
  const lines = allowing(MeshError, () => new LineSplitter().push(Buffer.concat([input, Buffer.from('\n')])))
  if (typeof lines === 'string') return lines
  const pieces = allowing(MeshError, () => {
    const splitter = new LineSplitter()
    return chunked(Buffer.concat([input, Buffer.from('\n')])).flatMap(chunk => splitter.push(chunk))
  })
  if (JSON.stringify(pieces) !== JSON.stringify(lines)) fail('is split in another way when it comes in pieces')
  const ways = lines.map(line => {
    const event = allowing(MeshError, () => readEvent(line, '/api/v1/services'))
    if (typeof event === 'string') return event
    const object = asObject(event.object)
    if (!object) return 'no object'
    keyOf(object)
    return decoded(object)
  })
  return [...new Set(ways)].join('; ')
}

function handleList(input: Buffer): string {
  const whole = allowing(MeshError, () => scanned([input]))
  const pieces = allowing(MeshError, () => scanned(chunked(input)))
  if (JSON.stringify(pieces) !== JSON.stringify(whole)) fail('is cut in another way when it comes in pieces')
  if (typeof whole === 'string') return whole
  const page = allowing(MeshError, () => readPage(whole.frame, '/api/v1/services'))
  if (typeof page !== 'string' && typeof page.continue !== 'string') fail('has a token that is no text')
  const ways = whole.objects.map(({ text }) => {
    const object = allowing(MeshError, () => readObject(text, '/api/v1/services'))
    return typeof object === 'string' ? object : decoded(object)
  })
  return `${typeof page === 'string' ? page : 'a page'}: ${[...new Set(ways)].join('; ')}`
}

function scanned(chunks: readonly Buffer[]) {
  const scanner = new ListScanner('/api/v1/services')
  const objects = chunks.flatMap(chunk => scanner.push(chunk))
  return { objects, frame: scanner.frame }
}

function chunked(bytes: Buffer): Buffer[] {
  const size = 1 + (bytes.length % 13)
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))
}

function decoded(value: unknown): string {
  const { object, faults } = decodeKubernetes(value, { workloads: true })
  for (const { message } of faults) mustBeTame(message)
  return `${faults.length > 0 ? 'faults, ' : ''}${object ? checkClaims([object]) : 'nothing'}`
}

function handleConfig(input: Buffer): string {
  const found = allowing(ConfigError, () => parseConfig(input.toString('utf8'), 'fuzz.yaml', { HOME: '/root' }))
  if (typeof found === 'string') return found
  for (const { message } of found.warnings) mustBeTame(message)
  return `a configuration with ${found.config.clusters.length > 1 ? 'clusters' : 'a cluster'}`
}

/** The error a decoder may throw, in a form that is the same for similar inputs. Any other goes on. */
function allowing<T>(kind: new (...given: never[]) => Error, decode: () => T): T | string {
  try {
    return decode()
  } catch (error) {
    if (!(error instanceof kind)) throw error
    for (const line of error.message.split('\n')) mustBeTame(line)
    return `refused: ${/^[a-z ]*/i.exec(error.message)?.[0].slice(0, 30)}`
  }
}
