/** Reads and writes objects and lists for requests. */

import type { Target } from '../http/request.ts'
import { StatusError } from '../http/status-error.ts'
import type { KubeObject } from '../types.ts'
import { patched } from './patch.ts'
import { selectorOf } from './selectors.ts'
import { formOf, shapeList, shapeObject } from './shape.ts'
import type { Store } from './store.ts'

export interface Written {
  readonly status: number
  readonly body: unknown
}

export function listObjects(store: Store, { type, namespace, query }: Target, accept: string): unknown {
  const matching = store.list(type, namespace).filter(selectorOf(query))
  const from = readContinue(store, query.get('continue'))
  const rest = from.after === undefined ? matching : matching.filter(object => keyOf(object) > (from.after ?? ''))
  const limit = Number(query.get('limit') ?? 0) || rest.length
  const page = rest.slice(0, limit)
  const last = page.at(-1)
  const more = rest.length - page.length
  return shapeList(formOf(accept), type, page, {
    resourceVersion: String(from.revision),
    ...(more > 0 && last && { continue: writeContinue(from.revision, keyOf(last)), remainingItemCount: more }),
  })
}

export function getObject(store: Store, target: Target, accept: string): unknown {
  const object = existing(store, target)
  return target.subresource === 'scale' ? scaleOf(object) : shapeObject(formOf(accept), target.type, object)
}

export function writeObject(store: Store, target: Target, contentType: string, body: unknown): Written {
  const dryRun = target.query.get('dryRun') === 'All'
  switch (target.verb) {
    case 'create': {
      const object = named(body as KubeObject, target)
      return { status: 201, body: dryRun ? object : store.create(target.type, object) }
    }
    case 'update':
      return change(store, target, () => body, dryRun)
    case 'patch':
      if (createsByApply(store, target, contentType)) {
        return { status: 201, body: dryRun ? body : store.create(target.type, named(body as KubeObject, target)) }
      }
      return change(store, target, before => patched(contentType, before, body), dryRun)
    case 'delete':
      return { status: 200, body: removeObject(store, target, body, dryRun) }
    default:
      throw new StatusError(405, 'MethodNotAllowed', `the server does not allow ${target.verb} here`)
  }
}

/** Whether a server-side apply creates the object, which takes the right to create as well. */
export function createsByApply(store: Store, target: Target, contentType: string): boolean {
  const isApply = target.verb === 'patch' && contentType === 'application/apply-patch+yaml'
  return isApply && target.subresource === undefined && !store.get(target.type, wanted(target))
}

/** Where a kind has a status subresource, only that changes the status, and it changes nothing else. */
function change(store: Store, target: Target, edit: (before: unknown) => unknown, dryRun: boolean): Written {
  const before = existing(store, target)
  const after =
    target.subresource === 'scale'
      ? rescaled(before, edit(scaleOf(before)))
      : merged(before, edit(before) as KubeObject, target)
  const stored = dryRun ? after : store.update(target.type, after)
  return { status: 200, body: target.subresource === 'scale' ? scaleOf(stored) : stored }
}

function merged(before: KubeObject, edited: KubeObject, { type, subresource }: Target): KubeObject {
  if (subresource === 'status') return { ...before, status: edited.status }
  const own = type.subresources.includes('status') ? { status: before.status } : {}
  const { namespace, name } = before.metadata
  return { ...edited, ...own, metadata: { ...edited.metadata, name, ...(namespace !== undefined && { namespace }) } }
}

function removeObject(store: Store, target: Target, options: unknown, dryRun: boolean): unknown {
  const object = existing(store, target)
  const uid = (options as { preconditions?: { uid?: string } } | undefined)?.preconditions?.uid
  if (uid !== undefined && uid !== object.metadata.uid)
    throw new StatusError(409, 'Conflict', 'the UID in the precondition differs')
  if (!dryRun) store.delete(target.type, wanted(target))
  const details = { name: object.metadata.name, kind: target.type.plural, uid: object.metadata.uid }
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details }
}

function scaleOf({ metadata, spec, status }: KubeObject): unknown {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = metadata
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: spec?.replicas ?? 1 },
    status: { replicas: status?.replicas ?? 0 },
  }
}

function rescaled(object: KubeObject, scale: unknown): KubeObject {
  const { replicas } = (scale as { spec: { replicas: number } }).spec
  return { ...object, spec: { ...object.spec, replicas } }
}

function named(object: KubeObject, { namespace, type }: Target): KubeObject {
  const kept = type.namespaced ? { namespace: namespace ?? object.metadata.namespace ?? 'default' } : {}
  return { ...object, metadata: { ...object.metadata, ...kept } }
}

function existing(store: Store, target: Target): KubeObject {
  const object = store.get(target.type, wanted(target))
  if (object) return object
  throw new StatusError(404, 'NotFound', `${target.type.plural} "${target.name}" not found`)
}

function wanted({ namespace, name = '' }: Target) {
  return { namespace, name }
}

function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`
}

function writeContinue(revision: number, after: string): string {
  return Buffer.from(JSON.stringify({ revision, after })).toString('base64url')
}

function readContinue(store: Store, token: string | null): { revision: number; after: string | undefined } {
  if (token === null) return { revision: store.revision, after: undefined }
  const from = JSON.parse(Buffer.from(token, 'base64url').toString()) as { revision: number; after: string }
  if (from.revision >= store.oldest) return from
  throw new StatusError(
    410,
    'Expired',
    'the provided continue parameter is too old to display a consistent list result',
  )
}
