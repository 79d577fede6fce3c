import { definePlugin, keep, list, text } from '../../proxy/plugin.ts'

/** No flow to a service of these namespaces leaves the local cluster. */
export default definePlugin({
  name: 'home',
  options: {
    namespaces: list('The namespaces whose services stay at home.', text('namespace')),
  },
  onError: 'refuse',
  decides: 'change',
  appliesTo: (service, { namespaces }) => namespaces.includes(service.namespace),
  create: () => ({
    candidates: (_flow, backends) => keep(backends, backend => !backend.remote),
    why: (_flow, { cluster }) => `${cluster} is not at home`,
  }),
})
