import manifest from 'starlane/package.json' with { type: 'json' }

/** Of this package, found by its own name: sources and build lie at different depths. */
export const version: string = manifest.version
