/** Renewal of the tokens by which clusters are read, for each whose source asks for it. */
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import type { KubernetesClient } from '../../clients/kubernetes/client.ts'
import { createKubernetesClient, type KubernetesLogin } from '../../clients/kubernetes/connect.ts'
import { serviceAccountFolder } from '../../clients/kubernetes/in-cluster.ts'
import { kubeconfigFiles } from '../../clients/kubernetes/kubeconfig-files.ts'
import { TokenRenewal } from '../../clients/kubernetes/renewal/token-renewal.ts'
import { fileStore, secretStore, type TokenStore } from '../../clients/kubernetes/renewal/token-stores.ts'
import type { Config } from '../../config/schema.ts'
import type { Problem } from '../../model/error.ts'
import type { RuntimeContext } from '../context.ts'

/** The Secret that `starlane mesh connect` writes. */
const secretName = 'starlane-clusters'

export class TokenRenewals {
  readonly #context: RuntimeContext
  #running = new Map<string, TokenRenewal>()
  #local: KubernetesClient | undefined

  constructor(context: RuntimeContext) {
    this.#context = context
  }

  /** Those of this configuration, from now on. */
  async follow(config: Config): Promise<void> {
    const wanted = config.clusters.flatMap(({ name, source }) => {
      if (!('kubernetes' in source) || 'inCluster' in source.kubernetes || source.kubernetes.renew === 'none') return []
      return [{ name, login: source.kubernetes, key: JSON.stringify([name, source.kubernetes]) }]
    })
    const leaving = [...this.#running].filter(([key]) => !wanted.some(each => each.key === key))
    for (const [key] of leaving) this.#running.delete(key)
    await Promise.all(leaving.map(([, renewal]) => renewal.close()))
    for (const { name, login, key } of wanted) {
      if (this.#running.has(key)) continue
      const [file = ''] = kubeconfigFiles(login.kubeconfig, this.#context.env)
      const store = login.renew === 'file' ? fileStore(file) : this.#secret(config, basename(file))
      const client = createKubernetesClient(login, this.#context)
      const renewal = new TokenRenewal({ cluster: name, store, client, world: this.#context })
      this.#running.set(key, renewal)
      renewal.start()
    }
  }

  problems(): Problem[] {
    return [...this.#running.values()].flatMap(renewal => renewal.problem() ?? [])
  }

  async close(): Promise<void> {
    await Promise.all([...this.#running.values()].map(renewal => renewal.close()))
    this.#running.clear()
    await this.#local?.close()
  }

  #secret({ clusters, cluster }: Config, key: string): TokenStore {
    const source = clusters.find(({ name }) => name === cluster)?.source
    const login: KubernetesLogin = source && 'kubernetes' in source ? source.kubernetes : { inCluster: true }
    const client = () => {
      this.#local ??= createKubernetesClient(login, this.#context)
      return this.#local
    }
    return secretStore(client, { namespace: ownNamespace(this.#context.env), name: secretName, key })
  }
}

/** Of the Pod that this runs in. */
function ownNamespace({ POD_NAMESPACE }: RuntimeContext['env']): string {
  if (POD_NAMESPACE) return POD_NAMESPACE
  try {
    return readFileSync(`${serviceAccountFolder}/namespace`, 'utf8').trim()
  } catch {
    return 'starlane'
  }
}
