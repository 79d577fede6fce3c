/** Parses the path, method and body of an API request. */
import type { IncomingMessage } from 'node:http'
import { parse } from 'yaml'
import type { ResourceType } from '../types.ts'
import { prefixOf } from './discovery.ts'
import { StatusError } from './status-error.ts'

/** The objects that a request is for. */
export interface Target {
  readonly type: ResourceType
  readonly namespace: string | undefined
  readonly name: string | undefined
  readonly subresource: string | undefined
  readonly verb: string
  readonly query: URLSearchParams
}

const verbs: Readonly<Record<string, readonly [one: string, all: string]>> = {
  GET: ['get', 'list'],
  POST: ['create', 'create'],
  PUT: ['update', 'update'],
  PATCH: ['patch', 'patch'],
  DELETE: ['delete', 'deletecollection'],
}

/** Undefined where no such resource is served. */
export function targetOf(method: string, url: URL, types: readonly ResourceType[]): Target | undefined {
  for (const type of types) {
    const prefix = `/${prefixOf(type)}/`
    if (!url.pathname.startsWith(prefix)) continue
    const steps = url.pathname.slice(prefix.length).split('/').map(decodeURIComponent)
    const inNamespace = type.namespaced && steps[0] === 'namespaces' && steps.length > 2
    const [namespace, rest] = inNamespace ? [steps[1], steps.slice(2)] : [undefined, steps]
    if (rest[0] !== type.plural) continue
    const [, name, subresource] = rest
    // /api/v1/namespaces/default/services is no part of the Namespace.
    if (rest.length > 3 || (subresource !== undefined && !isSubresource(subresource))) continue
    const [one, all] = verbs[method] ?? ['unknown', 'unknown']
    const watching = method === 'GET' && name === undefined && /^(true|1)$/.test(url.searchParams.get('watch') ?? '')
    const verb = watching ? 'watch' : name === undefined ? all : one
    return { type, namespace, name, subresource, verb, query: url.searchParams }
  }
  return undefined
}

function isSubresource(name: string): boolean {
  return ['status', 'scale', 'finalize', 'token'].includes(name)
}

export async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const text = Buffer.concat(chunks).toString('utf8')
  if (text === '') return undefined
  const type = contentTypeOf(request)
  if (type.includes('protobuf'))
    throw new StatusError(415, 'UnsupportedMediaType', 'this server does not read protobuf')
  try {
    return type.includes('yaml') ? parse(text) : JSON.parse(text)
  } catch {
    throw new StatusError(400, 'BadRequest', 'the body of the request cannot be parsed')
  }
}

export function contentTypeOf(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? 'application/json').split(';')[0]?.trim() ?? ''
}
