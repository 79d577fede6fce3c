#!/usr/bin/env node
// Plain JavaScript that an old Node can parse: its first duty is to say so when the Node is too old for the rest.
import { existsSync } from 'node:fs'

const needed = [22, 19]
const [major, minor] = process.versions.node.split('.').map(Number)

if (major < needed[0] || (major === needed[0] && minor < needed[1])) {
  process.stderr.write(
    `starlane: needs Node ${needed.join('.')} or newer, found ${process.versions.node}: ` +
      'install Node 24, or in a checkout run `npm ci` and then `npx starlane`, which brings it along\n',
  )
  process.exit(2)
}

// A checkout runs its sources, so that an old build left in dist/ is never what one debugs; the package has only dist/.
const source = new URL('../proxy/cli/main.ts', import.meta.url)
import(existsSync(source) ? source : new URL('../dist/proxy/cli/main.js', import.meta.url))
