/** The settings of a service, from its annotations and spec. */

import { isClusterName } from '../model/cluster.ts'
import { Kept } from '../model/lists/kept.ts'
import type { ClusterService, Settings } from '../model/service.ts'
import { isOfFamily, meantAnnotation, serviceAnnotations } from '../model/text/annotations.ts'
import { flagOf } from '../model/text/flag.ts'

/** A bad value is reported, and then has the meaning it has for Cilium. */
export interface DecodedSettings {
  readonly settings: Settings
  /** Faults, each with the annotation, the value and the remedy. */
  readonly faults: readonly string[]
}

/** The settings of a service without annotations. */
const none: Settings = { global: false, shared: false, affinity: 'none', clusterOrder: [] }

/**
 * Reads the settings of a service (Cilium 1.2). The old alias of an annotation is read only when the new key is absent, not
 * when its value is empty. A ServiceExport makes a service global unless an annotation says otherwise. All settings but
 * `global`, session affinity, traffic distribution and the PROXY protocol apply only to a global service. `known`: the names of the mesh's clusters.
 */
export function decodeSettings(service: ClusterService, known: readonly string[]): DecodedSettings {
  const decoded = decode(service, known)
  if (decoded.faults.length > 0) return decoded
  for (const value of [decoded.settings, ...Object.values(decoded.settings)]) Object.freeze(value)
  return alike.of(JSON.stringify(decoded.settings), decoded)
}

/** Most services have the settings of others: nobody may change them. */
const alike = new Kept<DecodedSettings>()

function decode(service: ClusterService, known: readonly string[]): DecodedSettings {
  const faults = misspelt(service.annotations)
  const read = (name: keyof typeof serviceAnnotations): Annotation | undefined =>
    find(service.annotations, serviceAnnotations[name])
  const distribution = trafficDistribution(service.trafficDistribution, faults)
  const session = {
    ...(service.sessionAffinity ? { sessionAffinity: service.sessionAffinity } : {}),
    ...(distribution ? { trafficDistribution: distribution } : {}),
    ...(sendProxy(read('sendProxy'), faults) ? { sendProxy: true as const } : {}),
  }

  const exported = service.exported !== undefined
  const global = flag(read('global'), exported, faults)
  if (!global) return { settings: { ...none, ...session }, faults }

  const minimum = minHealthy(read('minHealthyLocal'), faults)
  const weights = clusterWeights(read('clusterWeights'), known, faults)
  return {
    settings: {
      global,
      shared: flag(read('shared'), true, faults),
      affinity: affinity(read('affinity'), faults),
      clusterOrder: clusterOrder(read('clusterOrder'), known, faults),
      ...(minimum ? { minHealthyLocal: minimum } : {}),
      ...(weights ? { clusterWeights: weights } : {}),
      ...session,
    },
    faults,
  }
}

interface Annotation {
  readonly key: string
  readonly value: string
}

/** Of the annotations of one service; a cluster may give one thousands. */
const mostMisspelt = 10

/** An annotation under a name that nobody reads does nothing, and says nothing. */
function misspelt(annotations: ClusterService['annotations']): string[] {
  const keys = Object.keys(annotations).filter(isOfFamily)
  return keys.slice(0, mostMisspelt).flatMap(key => {
    const meant = meantAnnotation(key)
    return meant === undefined ? [] : [`"${key}" is not an annotation that is read; did you mean "${meant}"?`]
  })
}

function find(
  annotations: ClusterService['annotations'],
  { key, alias }: { readonly key: string; readonly alias?: string },
): Annotation | undefined {
  const name = Object.hasOwn(annotations, key) ? key : alias
  return name !== undefined && Object.hasOwn(annotations, name)
    ? { key: name, value: annotations[name] ?? '' }
    : undefined
}

/** `true`, in upper or lower case, is true. Everything else is false; other than `false`, it is a fault. */
function flag(annotation: Annotation | undefined, absent: boolean, faults: string[]): boolean {
  if (!annotation) return absent
  const value = flagOf(annotation.value)
  if (value === undefined) faults.push(`${quoted(annotation)} is neither "true" nor "false"; it counts as "false"`)
  return value === true
}

/** In upper or lower case, as for Cilium; not trimmed, as for Cilium. */
function affinity(annotation: Annotation | undefined, faults: string[]): Settings['affinity'] {
  const value = annotation?.value.toLowerCase() ?? ''
  if (value === 'local' || value === 'remote' || value === 'none') return value
  if (annotation && value !== '')
    faults.push(`${quoted(annotation)} is none of local, remote, none; it counts as "none"`)
  return 'none'
}

function sendProxy(annotation: Annotation | undefined, faults: string[]): boolean {
  if (!annotation || annotation.value === '') return false
  if (annotation.value.toLowerCase() === 'v2') return true
  faults.push(`${quoted(annotation)} is not "v2", the version of the PROXY protocol that is sent; nothing is sent`)
  return false
}

/** PreferSameZone and PreferSameNode since Kubernetes 1.34; PreferClose, since 1.30, is PreferSameZone (KEP-3015). */
function trafficDistribution(value: string | undefined, faults: string[]): Settings['trafficDistribution'] {
  if (value === undefined) return undefined
  if (value === 'PreferSameZone' || value === 'PreferClose') return 'PreferSameZone'
  if (value === 'PreferSameNode') return value
  faults.push(
    `spec.trafficDistribution: "${value}" is none of PreferSameZone, PreferSameNode, PreferClose; it is ignored`,
  )
  return undefined
}

/**
 * Bad names are dropped and the rest is used. Unknown clusters stay in the list, since they may be configured later. Names of
 * clusters are lower case, so any case is accepted.
 */
function clusterOrder(
  annotation: Annotation | undefined,
  known: readonly string[],
  faults: string[],
): readonly string[] {
  const names = (annotation?.value ?? '')
    .split(',')
    .map(name => name.trim().toLowerCase())
    .filter(name => name !== '')
  if (!annotation || names.length === 0) return []
  const valid = [...new Set(names.filter(isClusterName))]
  for (const name of names) {
    if (!isClusterName(name))
      faults.push(`${quoted(annotation)}: "${name}" is not a cluster name; write cluster-2,cluster-3`)
    else if (!known.includes(name))
      faults.push(`${quoted(annotation)}: no cluster "${name}" is configured (${known.join(', ')})`)
  }
  return valid
}

function minHealthy(annotation: Annotation | undefined, faults: string[]): Settings['minHealthyLocal'] {
  if (!annotation) return undefined
  const match = /^(\d{1,6})(%?)$/.exec(annotation.value.trim())
  const amount = Number(match?.[1])
  if (match && match[2] === '') return { count: amount }
  if (match && amount <= 100) return { percent: amount }
  faults.push(`${quoted(annotation)} is neither a number nor a percentage; write "3" or "30%". It is ignored`)
  return undefined
}

/** All or nothing: part of a split would not give the shares that were asked for. */
function clusterWeights(
  annotation: Annotation | undefined,
  known: readonly string[],
  faults: string[],
): Settings['clusterWeights'] {
  if (!annotation) return undefined
  const weights: Record<string, number> = {}
  for (const part of annotation.value.split(',').map(text => text.trim().toLowerCase())) {
    const match = /^([^=\s]+)\s*=\s*(\d{1,6})$/.exec(part)
    const name = match?.[1] ?? ''
    if (!match || !isClusterName(name)) {
      faults.push(`${quoted(annotation)}: "${part}" is not a share; write cluster-1=80,cluster-2=20. It is ignored`)
      return undefined
    }
    if (!known.includes(name))
      faults.push(`${quoted(annotation)}: no cluster "${name}" is configured (${known.join(', ')})`)
    weights[name] = Number(match[2])
  }
  if (Object.values(weights).some(weight => weight > 0)) return weights
  faults.push(`${quoted(annotation)} gives no cluster a share above 0. It is ignored`)
  return undefined
}

function quoted({ key, value }: Annotation): string {
  return `${key}: "${value}"`
}
