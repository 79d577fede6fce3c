/** The Kubernetes objects that Starlane writes, with a digest to detect changes. */
import { createHash } from 'node:crypto'
import type { Json } from '../model/text/json.ts'

/** An object to write: all fields that Starlane owns. */
export interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly namespace: string
    readonly name: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
    readonly ownerReferences?: Json
  }
  readonly [field: string]: Json
}

/** Marks objects as written by Starlane, which may delete them. */
export const managedBy = 'starlane.dev'

/**
 * Annotation with a hash of the manifest. The API server adds defaults, so written and stored objects always differ; comparing
 * the hashes shows what has to be written again.
 */
export const digestKey = 'starlane.dev/digest'

export function withDigest(manifest: Manifest): Manifest {
  const { metadata } = manifest
  return {
    ...manifest,
    metadata: { ...metadata, annotations: { ...metadata.annotations, [digestKey]: digestOf(manifest) } },
  }
}

export function digestOf(value: Json): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16)
}
