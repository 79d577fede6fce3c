import { createHash } from 'node:crypto'
import type { Json } from '../model/text/json.ts'

/** An object to be written, whole as far as Starlane owns it. */
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

/** Whose objects these are: what Starlane finds with this value it wrote itself, and may remove. */
export const owner = 'starlane.dev'

/**
 * What an object was written from. The API server fills in defaults, so that comparing objects would find differences
 * for ever; comparing these finds exactly what has to be written again.
 */
export const digestKey = 'starlane.dev/digest'

export function signed(manifest: Manifest): Manifest {
  const { metadata } = manifest
  return {
    ...manifest,
    metadata: { ...metadata, annotations: { ...metadata.annotations, [digestKey]: digestOf(manifest) } },
  }
}

export function digestOf(value: Json): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16)
}
