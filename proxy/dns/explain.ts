/** Explains the answer to a question and how it was made, for `starlane dns NAME`. Does not change the answer cache. */
import type { Client } from '../model/flow.ts'
import type { GlobalService } from '../model/service.ts'
import type { NameExplanation } from '../model/views.ts'
import { joinTarget } from './chase.ts'
import type { Forwarder } from './forward/forwarder.ts'
import type { Resolved, Resolver } from './forward/resolver.ts'
import { encodeReply, noRecords } from './message/encode.ts'
import { type Printed, print } from './message/print.ts'
import { isPlain, type Query, readQuery } from './message/query.ts'
import { queryMessage, questionFor } from './message/question.ts'
import { rcodeName, rcodes, typeCode, typeName } from './message/wire.ts'
import type { QueryHandler } from './respond.ts'
import { type Answer, answer } from './zones/answer.ts'
import type { View } from './zones/view.ts'

export interface ExplainParts {
  readonly handler: QueryHandler
  readonly resolver: Resolver
  readonly forwarder: Forwarder
}

export async function explain(
  name: string,
  type: string,
  client: Client,
  { handler, resolver, forwarder }: ExplainParts,
): Promise<NameExplanation> {
  const asked = queryFor(name, type)
  const from = { client: client.address }
  if (typeof asked === 'string') {
    return { ...nothing, ...from, name, type, rcode: 'FORMERR', authoritative: false, way: [asked] }
  }
  const { query, labels } = asked
  const view = handler.view(client)
  const found = answer(labels, query.type, view, handler.zones)
  const way = [...(found ? [`zone ${found.zone}`] : ['not in our zones']), ...dependencySteps(view)]
  const about = { ...from, name: labels.join('.'), type: typeName(query.type), authoritative: found !== undefined }
  if (found && found.externalTarget === undefined)
    return { ...about, ...printed(query, found), way: [...way, ...resultSteps(found)] }

  const target = found?.externalTarget ?? about.name
  if (found) way.push(`an alias leads out of our zones, to ${target}`)
  const outside = found ? queryFor(target, type) : asked
  const { resolved, steps } =
    typeof outside === 'string'
      ? { resolved: undefined, steps: [outside] }
      : await forward(outside, client, resolver, forwarder)
  way.push(...steps)
  if (!resolved) return { ...about, ...nothing, rcode: found ? 'NOERROR' : 'REFUSED', way }
  const whole = found ?? { ...noRecords, zone: '.', rcode: rcodes.NOERROR }
  return { ...about, ...printed(query, joinTarget(whole, resolved)), way }
}

interface Asked {
  readonly query: Query
  readonly labels: readonly string[]
}

function queryFor(name: string, type: string): Asked | string {
  const code = typeCode(type)
  if (code === undefined) return `${type} is no record type; use A, AAAA, SRV, PTR, CNAME, TXT, … or TYPE65`
  const plain = name.toLowerCase().replace(/\.$/, '')
  const labels = plain === '' ? [] : plain.split('.')
  const isValid = isPlain(labels) && labels.every(label => label.length <= 63)
  const query = isValid ? readQuery(queryMessage(questionFor(plain, code), 0, true)) : undefined
  return query && !('rcode' in query) ? { query, labels } : `${name} is no valid domain name`
}

function printed(query: Query, found: Answer): Printed & { readonly rcode: string } {
  const reply = encodeReply(query, { authoritative: true, rcode: found.rcode }, found)
  return { ...print(reply.bytes, reply.questionEnd), rcode: rcodeName(found.rcode) }
}

function dependencySteps(view: View): string[] {
  const { dependencies } = view
  return [
    ...(view.synced ? [] : ['the first sync is not done: no name is denied yet']),
    ...[...dependencies.namespaces].map(
      ([name, exists]) => `namespace ${name} ${exists ? 'exists' : 'does not exist'}`,
    ),
    ...[...dependencies.pods.values()].map(({ namespace, address, exists }) => {
      return `${exists ? 'a' : 'no'} pod of namespace ${namespace} has address ${address}`
    }),
    ...[...dependencies.hidden].map(
      ([key, refusal]) => `${key} is hidden from this client by ${refusal.code}: ${refusal.why}`,
    ),
    ...[...dependencies.admitted].map(service => described(service, view)),
  ]
}

function described(service: GlobalService, view: View): string {
  const { key, local, members, frontends } = service
  const clusters = members.map(member => member.cluster).join(', ') || 'no cluster'
  if (!local) return `${key} is in ${clusters} only: without a local Service it has no name in this cluster`
  if (local.derived !== undefined)
    return `${key} of ${clusters}: in the clusterset it has the address of its derived Service, ${local.derived}`
  if (local.imported)
    return `${key} is imported, from ${clusters}: it has a name in the clusterset, none in the cluster`
  if (local.type === 'ExternalName') return `${key} is an alias to ${local.externalName}`
  if (!local.headless)
    return `${key} has a virtual address and ${frontends.length === 1 ? '1 port' : `${frontends.length} ports`}; it is in ${clusters}`
  const ready = view.ready(service)
  const preferred = view.dependencies.preferred.has(service) ? view.preferred(service) : ready
  const shown = view.dependencies.shown.get(service) ?? []
  const preference = preferred.length < ready.length ? ` and ${preferred.length} preferred` : ''
  return `${key} is headless, of ${clusters}; this client may see ${shown.length} backends, ${ready.length} of them ready${preference}`
}

function resultSteps(found: Answer): string[] {
  if (found.extended) return [found.extended.text]
  if (found.rcode === rcodes.NXDOMAIN) return ['the name does not exist']
  return found.authority.length > 0 ? ['the name exists, without records of this type'] : []
}

async function forward(
  { query, labels }: Asked,
  client: Client,
  resolver: Resolver,
  forwarder: Forwarder,
): Promise<{ readonly resolved: Resolved | undefined; readonly steps: string[] }> {
  const route = forwarder.routeOf(labels)
  if (!route) return { resolved: undefined, steps: ['no upstream resolver is configured for this name'] }
  const upstreams = route.upstreams.map(upstream => `${upstream.name} (${upstream.state})`).join(', ')
  const steps = [`resolvers for ${route.domain === '' ? 'all other names' : route.domain}: ${upstreams}`]
  const resolved = resolver.cachedAnswer(query) ?? (await resolver.resolve(query, client))
  if (resolved) steps.push(source(resolved))
  return { resolved, steps }
}

function source({ from, detail, ageSeconds }: Resolved): string {
  switch (from) {
    case 'cache':
      return `from the cache, received ${ageSeconds} s ago from ${detail}`
    case 'upstream':
      return `asked ${detail}`
    case 'stale':
      return `stale answer from the cache: ${detail}`
    case 'failure':
      return `no answer: ${detail}`
  }
}

const nothing: Printed = { answers: [], authority: [], additional: [] }
