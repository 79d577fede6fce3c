import { definePlugin } from '../../proxy/plugin.ts'

export default definePlugin({
  name: 'home',
  options: {},
  onError: 'refuse',
  create: () => ({}),
})
