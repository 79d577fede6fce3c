/** The certificates of both sides of the demo's tunnel, and the configurations that use them. */
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { starlaneId } from '../../model/tunnel/identity.ts'
import { createAuthority, issue } from '../../runtime/tunnel/issuing.ts'

/** `gateway`: where it listens. `observed`: where cluster-1 reaches it, past the observer. */
export async function writeTunnelFiles(
  folder: string,
  { gateway, observed }: { readonly gateway: string; readonly observed: string },
): Promise<void> {
  const keys = join(folder, 'authority')
  await mkdir(keys, { mode: 0o700 })
  const authority = await createAuthority({ file: join(keys, 'ca'), name: 'starlane demo', days: 1 })
  for (const [name, id] of [
    ['proxy-tls', starlaneId('demo.mesh', 'cluster-1', 'proxy')],
    ['gateway-tls', starlaneId('demo.mesh', 'cluster-2', 'gateway')],
  ] as const) {
    const to = join(folder, name)
    await mkdir(to, { mode: 0o700 })
    await issue(authority, { file: join(to, 'tls'), name, days: 1, id })
    await copyFile(`${authority.file}.crt`, join(to, 'ca.crt'))
  }
  const file = join(folder, 'starlane.yaml')
  const text = await readFile(file, 'utf8')
  const remote = '    source: { manifests: ./cluster-2 }\n'
  const near = text.replace(remote, `${remote}    route: tunnel\n    gateways: ["${observed}"]\n`)
  await writeFile(`${file}.new`, `${near}tunnel: { certificates: ./proxy-tls }\n`)
  await rename(`${file}.new`, file)
  // The same clusters, seen from the other one.
  const far = text.replace('cluster: cluster-1', 'cluster: cluster-2')
  await writeFile(
    join(folder, 'gateway.yaml'),
    `${far}gateway: { listen: "${gateway}", certificates: ./gateway-tls }\n`,
  )
}
