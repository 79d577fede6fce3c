/** Access with the service account of the Pod that Starlane runs in. */
import { MeshError } from '../../model/error.ts'
import type { Access } from './access.ts'

/** Where the kubelet mounts a Pod's credentials, and renews them in place. */
export const serviceAccountFolder = '/var/run/secrets/kubernetes.io/serviceaccount'

/** The API server of the Pod's own cluster. */
export function inClusterAccess(env: Readonly<Record<string, string | undefined>>, folder: string): Access {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env
  if (!host || !port) {
    throw new MeshError(
      'SOURCE_READ',
      'inCluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is not a Pod; use a kubeconfig',
    )
  }
  return {
    name: 'the service account of this Pod',
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ca: { file: `${folder}/ca.crt` },
    insecure: false,
    credential: { by: 'token-file', file: `${folder}/token` },
    impersonate: {},
  }
}
