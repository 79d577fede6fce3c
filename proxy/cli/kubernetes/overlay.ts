/** Renders an overlay of deploy/ with a configuration and an image. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { stringify } from 'yaml'
import { MeshError } from '../../model/error.ts'
import { packagePath } from '../../model/program/package-files.ts'
import { imageName } from './image.ts'
import { kubectl } from './kubectl.ts'

export interface OverlayOptions {
  /** A folder of deploy/overlays. */
  readonly way: string
  /** The text of starlane.yaml. */
  readonly config: string
  readonly image: string
  /** Folders of deploy/ with further rights. */
  readonly components: readonly string[]
}

/** The options that need further rights. */
interface Needs {
  readonly dns?: { readonly pods?: string | undefined } | undefined
  readonly plugins?: readonly { readonly use: string }[] | undefined
  readonly underlay?: { readonly mode: string } | undefined
}

/** The components that a configuration needs. */
export function componentsOf({ dns, plugins = [], underlay }: Needs): string[] {
  return [
    ...(dns?.pods === 'verified' ? ['components/verified-pods'] : []),
    ...(plugins.some(({ use }) => use === 'policy') ? ['components/policies'] : []),
    ...((underlay?.mode ?? 'none') === 'none' ? [] : ['components/underlay']),
    ...(underlay?.mode === 'wireguard' ? ['components/underlay-keys'] : []),
  ]
}

/** As YAML. Kustomize hashes the ConfigMap's name, so a changed configuration causes a rollout. */
export async function renderOverlay({ way, config, image, components }: OverlayOptions): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'starlane-install-'))
  try {
    await writeFile(join(folder, 'starlane.yaml'), config)
    const deployed = (path: string) => relative(folder, packagePath(`deploy/${path}`))
    const all = kustomization(deployed(`overlays/${way}`), image, components.map(deployed))
    await writeFile(join(folder, 'kustomization.yaml'), stringify(all))
    return await kubectl(['kustomize', folder]).catch(async error => {
      await refuseOld()
      throw error
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** kubectl before 1.21 contains a Kustomize of 2019, which fails on the overlays with a message that does not help. */
async function refuseOld(): Promise<void> {
  const { clientVersion } = JSON.parse(await kubectl(['version', '--client', '-o', 'json']))
  if (clientVersion.major !== '1' || Number.parseInt(clientVersion.minor, 10) >= 21) return
  const why = `kubectl ${clientVersion.gitVersion} is too old for the overlays of deploy/; install needs 1.21 or newer`
  throw new MeshError('USAGE', why)
}

function kustomization(overlay: string, image: string, components: readonly string[]): object {
  const [, name = image, tag = 'latest'] = /^(.+?)(?::([\w.-]+))?$/.exec(image) ?? []
  return {
    apiVersion: 'kustomize.config.k8s.io/v1beta1',
    kind: 'Kustomization',
    namespace: 'starlane',
    resources: [overlay],
    components,
    configMapGenerator: [{ name: 'starlane', behavior: 'replace', files: ['starlane.yaml'] }],
    images: [{ name: imageName, newName: name, newTag: tag }],
  }
}
