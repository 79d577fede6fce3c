/** Flows stay in the local cluster. */
import { definePlugin, keep } from '../../proxy/plugin.ts'

export default definePlugin({
  name: 'home',
  options: {},
  onError: 'refuse',
  decides: 'change',
  create: () => ({
    candidates: (_flow, backends) => keep(backends, backend => !backend.remote),
  }),
})
