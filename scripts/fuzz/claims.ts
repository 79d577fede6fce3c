/** What must hold of every object that a decoder lets through, and of every address that passes admission. */
import { isIP } from 'node:net'
import { Admission } from '../../proxy/admission/admission.ts'
import { canonicalAddress } from '../../proxy/model/address.ts'
import type { ClusterService } from '../../proxy/model/service.ts'
import { type Sink, type Snapshot, silentSink } from '../../proxy/model/sink.ts'
import type { ClusterObject, DeclaredEndpoint, ServiceSpec } from '../../proxy/sources/objects.ts'
import { ServiceAssembler } from '../../proxy/sources/service-assembler.ts'

/** Throws where an object breaks a rule, or an address passes admission that nobody may name. Returns how it went. */
export function checkClaims(objects: readonly ClusterObject[]): string {
  for (const object of objects) checkObject(object)
  const assembler = new ServiceAssembler('east')
  for (const object of objects) assembler.put(object, 'fuzz')
  const services: ClusterService[] = []
  const admission = new Admission({ wholeAddresses: false })
  admission.allow('east', { loopback: false })
  assembler.flush(admission.sink('east', recorder(services)))
  for (const { endpoints } of services) for (const { address } of endpoints) mustBeDialable(address)
  for (const { message } of admission.problems()) mustBeTame(message)
  const refused = admission.problems().length > 0 ? ', refused' : ''
  return `${[...new Set(objects.map(({ kind }) => kind))].sort().join()}${refused}`
}

function checkObject(object: ClusterObject): void {
  if (object.kind === 'Service') checkSpec(object.spec)
  else if (object.kind === 'ServiceExport' && object.standIn) checkSpec(object.standIn.spec)
  else if (object.kind === 'ServiceImport') checkSpec(object.spec)
  else if (object.kind === 'EndpointSlice' || object.kind === 'Endpoints') {
    for (const endpoint of object.endpoints) checkEndpoint(endpoint)
  } else if (object.kind === 'Node') {
    for (const address of object.addresses ?? []) mustBeCanonical(address)
  } else if (object.kind === 'Pod') for (const address of object.pod.addresses) mustBeCanonical(address)
  const { namespace, name } = object
  const longest = object.kind === 'Node' ? Number.POSITIVE_INFINITY : 253
  if (name === '' || name.length > longest || namespace.length > 63) fail(`lets the name ${namespace}/${name} through`)
}

function checkSpec({ clusterIPs, ports }: ServiceSpec): void {
  for (const address of clusterIPs) mustBeCanonical(address)
  for (const { port, protocol } of ports) checkPort(port, protocol)
}

function checkEndpoint({ address, ports, weight = 100 }: DeclaredEndpoint): void {
  mustBeCanonical(address)
  for (const { port, protocol } of ports) checkPort(port, protocol)
  if (!Number.isInteger(weight) || weight < 0 || weight > 999_999) fail(`lets the weight ${weight} through`)
}

function checkPort(port: number, protocol: string): void {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) fail(`lets the port ${port} through`)
  if (!['TCP', 'UDP', 'SCTP'].includes(protocol)) fail(`lets the protocol ${protocol} through`)
}

function mustBeCanonical(address: string): void {
  if (canonicalAddress(address) !== address || isIP(address) === 0) fail(`lets the address ${address} through`)
}

/** Independent of proxy/admission: the text of a canonical address is enough for what a cluster may never name. */
function mustBeDialable(address: string): void {
  const isNever =
    /^(0|127|169\.254|22[4-9]|23\d)\.|^255\.255\.255\.255$/.test(address) ||
    /^(::1?|fe[89ab].:.*|ff..:.*)$/.test(address)
  if (isNever) fail(`admits ${address}`)
}

/** A message goes to a terminal and into a page: it is short, and has no control or format characters. */
export function mustBeTame(message: string): void {
  if (/[\p{Cc}\p{Cf}\u2028\u2029]/u.test(message)) fail(`says a control character: ${JSON.stringify(message)}`)
  if (message.length > 2000) fail(`says ${message.length} characters: ${message.slice(0, 200)}`)
}

function recorder(services: ClusterService[]): Sink {
  return {
    ...silentSink,
    reset: (snapshot: Snapshot) => void services.push(...snapshot.services),
    put: service => void services.push(service),
  }
}

export function fail(why: string): never {
  throw new Error(why)
}
