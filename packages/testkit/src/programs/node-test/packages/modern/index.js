import heavy from 'heavy';

export const modern = () => `modern ${typeof heavy.count}`;
