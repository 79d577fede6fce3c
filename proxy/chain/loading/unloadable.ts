/** A plugin that cannot come to life. Says what was found and what would do; where the configuration asks for it, its reader knows. */
export class Unloadable extends Error {}
