/** Forms in which a client may request objects: whole, metadata only, or as a table. */
import { at, groupVersion, type KubeObject, type ResourceType } from '../types.ts'

export type Form = 'whole' | 'metadata' | 'table'

export function formOf(accept: string): Form {
  const first = accept.split(',')[0] ?? ''
  if (/as=Table/.test(first)) return 'table'
  return /as=PartialObjectMetadata/.test(first) ? 'metadata' : 'whole'
}

export function shapeObject(form: Form, type: ResourceType, object: KubeObject): unknown {
  if (form === 'metadata') return metadataOnly(object)
  if (form === 'table') return table(type, [object], {})
  return object
}

export function shapeList(
  form: Form,
  type: ResourceType,
  objects: readonly KubeObject[],
  metadata: Record<string, unknown>,
): unknown {
  if (form === 'table') return table(type, objects, metadata)
  if (form === 'metadata') {
    const items = objects.map(metadataOnly)
    return { kind: 'PartialObjectMetadataList', apiVersion: 'meta.k8s.io/v1', metadata, items }
  }
  // Members of a typed list do not repeat what they are.
  const items = objects.map(({ kind: _, apiVersion: __, ...rest }) => rest)
  return { kind: `${type.kind}List`, apiVersion: groupVersion(type), metadata, items }
}

function metadataOnly({ metadata }: KubeObject): unknown {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata }
}

function table(type: ResourceType, objects: readonly KubeObject[], metadata: Record<string, unknown>): unknown {
  const titles = ['Name', ...type.columns.map(([title]) => title), 'Age']
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata,
    columnDefinitions: titles.map(name => ({
      name,
      type: 'string',
      format: name === 'Name' ? 'name' : '',
      priority: 0,
    })),
    rows: objects.map(object => ({
      cells: [
        object.metadata.name,
        ...type.columns.map(([, path]) => String(at(object, path) ?? '<none>')),
        ageOf(object.metadata.creationTimestamp),
      ],
      object: metadataOnly(object),
    })),
  }
}

function ageOf(created: string): string {
  return `${Math.max(0, Math.round((Date.now() - Date.parse(created)) / 1000))}s`
}
