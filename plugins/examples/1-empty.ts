/** The smallest plugin: it decides nothing. */
import { definePlugin } from '../../proxy/plugin.ts'

export default definePlugin({
  name: 'home',
  options: {},
  onError: 'refuse',
  create: () => ({}),
})
