/** Creates a client of a cluster's API server from the configuration. */
import type { Log } from '../../model/log.ts'
import type { Clock, Random } from '../../model/time/clock.ts'
import type { Access } from './access.ts'
import { KubernetesClient } from './client.ts'
import { inClusterAccess, serviceAccountFolder } from './in-cluster.ts'
import { kubeconfigFiles, loadAccess } from './kubeconfig-files.ts'

/** `kubeconfig` and `context` as for kubectl; the defaults are `KUBECONFIG`, `~/.kube/config` and the current context. */
export type KubernetesLogin =
  | { readonly kubeconfig?: string | undefined; readonly context?: string | undefined; readonly inCluster?: never }
  | { readonly inCluster: true; readonly serviceAccountFolder?: string }

export interface KubernetesWorld {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Reads the address and the credentials. Sends nothing. Throws a MeshError when the configuration is not usable. */
export async function kubernetesAccess(login: KubernetesLogin, env: KubernetesWorld['env']): Promise<Access> {
  if (login.inCluster) return inClusterAccess(env, login.serviceAccountFolder ?? serviceAccountFolder)
  return loadAccess(login, env)
}

export function createKubernetesClient(
  options: KubernetesLogin,
  { clock, log, env }: KubernetesWorld,
): KubernetesClient {
  const files = options.inCluster ? [] : kubeconfigFiles(options.kubeconfig, env)
  return new KubernetesClient({ access: () => kubernetesAccess(options, env), files, clock, log, env })
}
