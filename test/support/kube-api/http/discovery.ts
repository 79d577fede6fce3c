/** Discovery for kubectl: versions, groups, resources, and an OpenAPI that says the server validates fields. */
import { groupVersion, type ResourceType } from '../types.ts'

const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch']

export function discover(path: string, types: readonly ResourceType[]): unknown {
  if (path === '/version') {
    return {
      major: '1',
      minor: '32',
      gitVersion: 'v1.32.4',
      platform: 'linux/amd64',
      goVersion: 'go1.23',
      gitCommit: '0',
    }
  }
  if (/^\/(livez|readyz|healthz)$/.test(path)) return 'ok'
  if (path === '/api') return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] }
  if (path === '/apis') return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups(types) }
  if (path === '/openapi/v3') return { paths: Object.fromEntries(prefixes(types).map(openApiPath)) }
  // kubectl up to 1.26 wants this one before it applies; empty, it tells no kind's fields, and nothing is checked by kubectl.
  if (path === '/openapi/v2') return ''
  const [, openApi] = /^\/openapi\/v3\/(.+)$/.exec(path) ?? []
  if (openApi !== undefined) return openApiOf(openApi, types)
  const [, group] = /^\/apis\/([^/]+)$/.exec(path) ?? []
  if (group !== undefined) return groups(types).find(({ name }) => name === group)
  const [, prefix] = /^\/(api\/[^/]+|apis\/[^/]+\/[^/]+)$/.exec(path) ?? []
  return prefix === undefined ? undefined : resourceList(types.filter(type => prefixOf(type) === prefix))
}

export function prefixOf(type: ResourceType): string {
  return type.group === '' ? `api/${type.version}` : `apis/${type.group}/${type.version}`
}

function prefixes(types: readonly ResourceType[]): string[] {
  return [...new Set(types.map(prefixOf))]
}

function groups(types: readonly ResourceType[]) {
  const names = [...new Set(types.map(({ group }) => group).filter(group => group !== ''))]
  return names.map(name => {
    const versions = [...new Set(types.filter(({ group }) => group === name).map(({ version }) => version))]
    const entries = versions.map(version => ({ groupVersion: `${name}/${version}`, version }))
    return { kind: 'APIGroup', apiVersion: 'v1', name, versions: entries, preferredVersion: entries[0] }
  })
}

function resourceList(types: readonly ResourceType[]): unknown {
  const [first] = types
  if (!first) return undefined
  const resources = types.flatMap(type => {
    const { plural: name, kind, namespaced, shortNames } = type
    const own = { name, singularName: kind.toLowerCase(), kind, namespaced, shortNames, verbs }
    return [own, ...type.subresources.map(sub => subresource(type, sub))]
  })
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: groupVersion(first), resources }
}

function subresource({ plural, kind, namespaced }: ResourceType, sub: string): unknown {
  const own = sub === 'scale' ? { group: 'autoscaling', version: 'v1', kind: 'Scale' } : { kind }
  return { name: `${plural}/${sub}`, singularName: '', namespaced, ...own, verbs: ['get', 'patch', 'update'] }
}

function openApiPath(prefix: string): [string, unknown] {
  return [prefix, { serverRelativeURL: `/openapi/v3/${prefix}` }]
}

/** No more of OpenAPI than makes kubectl leave the checking of fields to the server. */
function openApiOf(prefix: string, types: readonly ResourceType[]): unknown {
  const parameters = [{ name: 'fieldValidation', in: 'query', schema: { type: 'string' } }]
  const paths = types
    .filter(type => prefixOf(type) === prefix)
    .map(({ group, version, kind, plural }) => [
      `/${prefix}/${plural}/{name}`,
      { patch: { parameters, responses: {}, 'x-kubernetes-group-version-kind': { group, version, kind } } },
    ])
  return { openapi: '3.0.0', info: { title: 'Kubernetes', version: 'v1.32.4' }, paths: Object.fromEntries(paths) }
}
