/** Flows to services of these namespaces stay in the local cluster. */
import { definePlugin, keep, list, text } from '../../proxy/plugin.ts'

export default definePlugin({
  name: 'home',
  options: {
    namespaces: list('The namespaces whose flows stay in the local cluster.', text('namespace')),
  },
  onError: 'refuse',
  decides: 'change',
  appliesTo: (service, { namespaces }) => namespaces.includes(service.namespace),
  create: () => ({
    candidates: (_flow, backends) => keep(backends, backend => !backend.remote),
    why: (_flow, { cluster }) => `${cluster} is not the local cluster`,
  }),
})
