/** Plain JSON, for status and the `state()` of plugins. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }
