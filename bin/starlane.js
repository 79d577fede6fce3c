#!/usr/bin/env node
// Starts the command line. Plain JavaScript that an old Node can parse, so that it can report a Node that is too old.
import { existsSync } from 'node:fs'

const needed = [22, 19]
const [major, minor] = process.versions.node.split('.').map(Number)

if (major < needed[0] || (major === needed[0] && minor < needed[1])) {
  process.stderr.write(
    `starlane: needs Node ${needed.join('.')} or newer, found ${process.versions.node}: ` +
      'install Node 24, or in a source checkout run `npm ci` and then `npx starlane`, which uses the Node 24 it installs\n',
  )
  process.exit(2)
}

// A checkout runs its sources, even if dist/ has an old build; the published package has only dist/.
const source = new URL('../proxy/cli/main.ts', import.meta.url)
const { start } = await import(existsSync(source) ? source : new URL('../dist/proxy/cli/main.js', import.meta.url))
await start()
