/** PATCH in its variants: merge, strategic merge, apply and JSON Patch. */
import { isDeepStrictEqual } from 'node:util'
import { StatusError } from '../http/status-error.ts'

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
type Mapping = { [key: string]: Json }

/** By content type. `apply` is merged like a strategic patch: owners of fields are not kept. */
export function patched(contentType: string, object: unknown, patch: unknown): unknown {
  const [target, change] = [object as Json, patch as Json]
  switch (contentType) {
    case 'application/merge-patch+json':
      return mergePatch(target, change)
    case 'application/strategic-merge-patch+json':
    case 'application/apply-patch+yaml':
      return strategicPatch(target, change, '')
    case 'application/json-patch+json':
      return (change as Mapping[]).reduce(jsonPatch, structuredClone(target))
    default:
      throw new StatusError(
        415,
        'UnsupportedMediaType',
        `the body of the request was in an unknown format: ${contentType}`,
      )
  }
}

/** RFC 7396. */
function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isMapping(patch)) return patch
  const merged: Mapping = isMapping(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key]
    else merged[key] = mergePatch(merged[key], value)
  }
  return merged
}

/** What tells the members of a list apart, for the lists of the kinds that tests use. Lists not named here are replaced. */
const mergeKeys: Readonly<Record<string, readonly string[]>> = {
  containers: ['name'],
  initContainers: ['name'],
  volumes: ['name'],
  env: ['name'],
  conditions: ['type'],
  volumeMounts: ['mountPath'],
  ownerReferences: ['uid'],
  // A container's ports have containerPort, a Service's have port.
  ports: ['containerPort', 'port'],
}

function strategicPatch(target: Json | undefined, patch: Json, field: string): Json {
  if (Array.isArray(patch)) return patchList(Array.isArray(target) ? target : [], patch, field)
  if (!isMapping(patch)) return patch
  const { $patch: directive, ...changes } = patch
  if (directive === 'replace') return changes
  const merged: Mapping = isMapping(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(changes)) {
    if (key.startsWith('$deleteFromPrimitiveList/')) {
      const list = key.slice('$deleteFromPrimitiveList/'.length)
      merged[list] = ((merged[list] ?? []) as Json[]).filter(item => !(value as Json[]).includes(item))
    } else if (key === '$retainKeys') {
      for (const known of Object.keys(merged)) if (!(value as Json[]).includes(known)) delete merged[known]
    } else if (key.startsWith('$')) continue
    else if (value === null || (isMapping(value) && value.$patch === 'delete')) delete merged[key]
    else merged[key] = strategicPatch(merged[key], value, key)
  }
  return merged
}

function patchList(target: Json[], patch: Json[], field: string): Json[] {
  const key = mergeKeys[field]?.find(name => patch.some(item => isMapping(item) && name in item))
  if (key === undefined) return patch
  if (patch.some(item => isMapping(item) && item.$patch === 'replace')) {
    return patch.filter(item => !(isMapping(item) && item.$patch === 'replace'))
  }
  let merged = [...target]
  for (const item of patch as Mapping[]) {
    const index = merged.findIndex(other => isMapping(other) && isDeepStrictEqual(other[key], item[key]))
    if (item.$patch === 'delete') merged = merged.filter((_, i) => i !== index)
    else if (index === -1) merged.push(item)
    else merged[index] = strategicPatch(merged[index], item, '')
  }
  return merged
}

/** RFC 6902: add, replace, remove and test. */
function jsonPatch(target: Json, { op, path, value }: Mapping): Json {
  const steps = String(path)
    .split('/')
    .slice(1)
    .map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'))
  const last = steps.pop() ?? ''
  // biome-ignore lint/suspicious/noExplicitAny: walks values of any type
  const parent = steps.reduce<any>((inner, step) => inner?.[step], target)
  if (parent === undefined) throw new StatusError(422, 'Invalid', `the path ${path} does not exist`)
  if (op === 'test' && !isDeepStrictEqual(parent[last], value))
    throw new StatusError(422, 'Invalid', `test of ${path} failed`)
  if (op === 'remove') {
    if (Array.isArray(parent)) parent.splice(Number(last), 1)
    else delete parent[last]
  } else if (op === 'add' && Array.isArray(parent)) parent.splice(last === '-' ? parent.length : Number(last), 0, value)
  else if (op === 'add' || op === 'replace') parent[last] = value
  return target
}

function isMapping(value: Json | undefined): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
