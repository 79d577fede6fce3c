/** The command line of a script. Its first comment, which says what it does and how it is called, is its help. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type ParseArgsConfig, parseArgs } from 'node:util'

/** `script`: its import.meta.url. With `--help` it says how it is called, and ends; what is not understood ends it with 2. */
export function commandLine<const T extends ParseArgsConfig>(
  script: string,
  config: T,
): ReturnType<typeof parseArgs<T>> {
  const help = () => `${firstComment(readFileSync(fileURLToPath(script), 'utf8'))}\n${optionsText(config)}`
  if (process.argv.slice(2).some(given => given === '--help' || given === '-h')) {
    process.stdout.write(help())
    process.exit(0)
  }
  try {
    return parseArgs(config)
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n\n${help()}`)
    process.exit(2)
  }
}

/** Without its marks. */
export function firstComment(source: string): string {
  const block = /^\/\*\*([\s\S]*?)\*\//.exec(source)?.[1]
  const lines =
    block?.replaceAll(/^ ?\* ?/gm, '') ?? /^(?:\/\/.*\n)*/.exec(source)?.[0].replaceAll(/^\/\/ ?/gm, '') ?? ''
  return `${lines.trim()}\n`
}

function optionsText({ options = {} }: ParseArgsConfig): string {
  const texts = Object.entries(options).map(([name, { type, default: value }]) => {
    if (type === 'boolean') return `--${name}`
    return value === undefined || value === '' || Array.isArray(value) ? `--${name}=…` : `--${name}=${value}`
  })
  return texts.length > 0 ? `Options, with what they are by default: ${texts.join(' ')}\n` : ''
}
