import { modern } from 'modern';

export const shared = () => modern();
